// The beginning and the end of reading a segment of lanes. Kernels read the rounds in between.
#include "lanes/lanes.hpp"

#include <algorithm>

#include "common/bits.hpp"

namespace dcz {

bool start_lanes(const LaneSegment& segment, LaneState& state) {
  if (static_cast<std::size_t>(segment.end - segment.begin) < kLanes * kWindowBytes) return false;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    state.unused[lane] = load_le64(segment.begin + lane * kWindowBytes);
    state.used_bits[lane] = 0;
  }
  state.next = segment.begin + kLanes * kWindowBytes;
  return true;
}

bool finish_lanes(const LaneCode& code, const LaneSegment& segment, LaneState& state, std::size_t done) {
  while (done < segment.count) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const std::uint64_t bytes = state.used_bits[lane] / 8;
      if (state.next > segment.end || static_cast<std::uint64_t>(segment.end - state.next) < bytes) return false;
      std::uint64_t& unused = state.unused[lane];
      std::uint64_t& used = state.used_bits[lane];
      for (std::uint64_t i = 0; i < bytes; ++i, used -= 8) unused |= std::uint64_t{*state.next++} << (64 - used);
      for (unsigned i = 0; i < code.layout.turn && done < segment.count; ++i) {
        const std::uint16_t single = code.singles[unused & (code.singles.size() - 1)];
        segment.symbols[done++] = static_cast<std::uint8_t>(single >> 8);
        unused >>= single & 0xff;
        used += single & 0xff;
      }
    }
  }
  // The rest of the windows is padding.
  return state.next == segment.end &&
         std::all_of(state.unused.begin(), state.unused.end(), [](std::uint64_t bits) { return bits == 0; });
}

}  // namespace dcz
