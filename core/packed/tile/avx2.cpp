// The form `tile` in scalar code with the bit instructions of BMI2.
#include "packed/tile/scalar.hpp"

namespace dcz {

void decode_tile_avx2(const TileTask& task, std::size_t begin, std::size_t end) {
  decode_tile_scalar(task, begin, end);
}

}  // namespace dcz
