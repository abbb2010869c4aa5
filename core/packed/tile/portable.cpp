// The form `tile` in portable C++.
#include "packed/tile/scalar.hpp"

namespace dcz {

void decode_tile_portable(const TileTask& task, std::size_t begin, std::size_t end) {
  decode_tile_scalar(task, begin, end);
}

}  // namespace dcz
