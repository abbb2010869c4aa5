// Magnitudes of codes as paths in binary trees of counters. docs/format.md, "Codes".
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "adaptive/mixer.hpp"

namespace dcz {

inline constexpr unsigned kMaxBits = 8;

// "The fewest bits that hold all magnitudes" of a kind that has so many.
inline unsigned magnitude_bits(unsigned size) {
  return size == 0 ? 0 : static_cast<unsigned>(std::bit_width(size - 1));
}

// "As if all magnitudes were equally likely": those of a kind that has `size`, at a node of its tree.
inline Counter magnitude_start(std::size_t node, unsigned size) {
  const auto depth = static_cast<unsigned>(std::bit_width(node)) - 1;
  const unsigned bits = magnitude_bits(size);
  if (depth >= bits) return {};
  const std::int64_t half = std::int64_t{1} << (bits - depth - 1);
  const std::int64_t first = 2 * half * static_cast<std::int64_t>(node) - (std::int64_t{1} << bits);
  const std::int64_t zeros = std::clamp<std::int64_t>(size - first, 0, half);
  const std::int64_t ones = std::clamp<std::int64_t>(size - first - half, 0, half);
  if (zeros == 0) return {};
  const std::int64_t p = std::clamp<std::int64_t>(65536 * ones / (zeros + ones), 64, 65472);
  return {static_cast<std::uint32_t>(p), 4 * depth + 1};
}

// The first levels of one tree for each context and kind: node n, from 1 on, of kind s in context c is number
// ((2 c + s) << levels) + n.
inline std::vector<Counter> magnitude_trees(std::size_t contexts, unsigned levels,
                                            const std::array<unsigned, 2>& sizes) {
  const std::size_t tree = std::size_t{1} << levels;
  std::vector<Counter> nodes(2 * tree * contexts);
  for (std::size_t node = 1; node < tree; ++node) {
    for (const std::size_t kind : {0, 1}) nodes[kind * tree + node] = magnitude_start(node, sizes[kind]);
  }
  for (std::size_t i = 2 * tree; i < nodes.size(); ++i) nodes[i] = nodes[i - 2 * tree];
  return nodes;
}

}  // namespace dcz
