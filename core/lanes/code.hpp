// Huffman codes for lanes: chosen for counts, checked when read.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lanes/lanes.hpp"

namespace dcz {

// Lengths of a code for `kNarrow`. Symbols so rare that a list of them is cheaper get none.
std::vector<std::uint8_t> narrow_lengths(std::span<const std::uint64_t> counts);

// Lengths of a code for `kWide`.
std::vector<std::uint8_t> wide_lengths(std::span<const std::uint64_t> counts);

// The reason why these lengths are no code for the layout; empty if they are one.
std::string flaw_of(std::span<const std::uint8_t> lengths, LaneLayout layout);

LaneCode make_lane_code(std::span<const std::uint8_t> lengths, LaneLayout layout);

}  // namespace dcz
