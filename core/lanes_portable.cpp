// Lanes decoded on any CPU.
#include "lanes_scalar.hpp"

namespace dcz {

bool decode_lanes_portable(const LaneCode& code, std::span<const LaneSegment> segments,
                           const std::uint8_t* readable_end) {
  return decode_lanes_scalar(code, segments, readable_end);
}

}  // namespace dcz
