// Reads and writes lanes on any CPU.
#include "lanes/scalar_decode.hpp"
#include "lanes/scalar_encode.hpp"

namespace dcz {

bool decode_lanes_portable(const LaneCode& code, std::span<const LaneSegment> segments,
                           const std::uint8_t* readable_end) {
  return decode_lanes_scalar(code, segments, readable_end);
}

void write_lanes_portable(const LaneTable& table, std::span<const std::uint8_t> symbols, const LaneBuffers& buffers) {
  write_lanes_scalar(table, symbols, buffers);
}

}  // namespace dcz
