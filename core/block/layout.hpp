// The layouts of blocks and the places of their segments, for writers and readers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "lanes/lanes.hpp"

namespace dcz {

enum Layout : std::uint8_t { kSame, kPlain, kStream, kNarrowLanes, kWideLanes };

inline constexpr LaneLayout lanes_of(Layout layout) { return layout == kNarrowLanes ? kNarrow : kWide; }

// Fewer symbols go into one stream: lanes have windows to fill.
inline constexpr std::size_t kStreamSymbols = std::size_t{1} << 16;
inline constexpr std::size_t kSegmentSymbols = std::size_t{1} << 20;
inline constexpr std::size_t kSegmentsTogether = 3;  // that a kernel decodes in turns

// Segments differ by at most one round: the first ones are longer.
inline std::size_t segment_start(std::size_t segment, std::size_t segments, std::size_t symbols, std::size_t round) {
  const std::size_t rounds = (symbols + round - 1) / round;
  return std::min(symbols, round * (segment * (rounds / segments) + std::min(segment, rounds % segments)));
}

}  // namespace dcz
