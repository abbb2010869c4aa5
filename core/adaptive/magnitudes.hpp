// Magnitudes of codes as paths in binary trees of counters. docs/format.md, "Codes". Included by model.cpp alone.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "adaptive/mixer.hpp"
#include "adaptive/neighbours.hpp"

namespace dcz {
namespace {

inline constexpr unsigned kMaxBits = 8;

// "At depths 0 to 4": the neighbours say nothing of lower bits.
inline constexpr unsigned kMixedBits = 5;

// "The fewest bits that hold all magnitudes" of a kind of so many.
inline unsigned magnitude_bits(unsigned size) {
  return size == 0 ? 0 : static_cast<unsigned>(std::bit_width(size - 1));
}

// "As if all magnitudes were equally likely", for a kind of `size`, at a node of its tree.
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
    for (const std::size_t kind : {std::size_t{0}, std::size_t{1}})
      nodes[kind * tree + node] = magnitude_start(node, sizes[kind]);
  }
  for (std::size_t i = 2 * tree; i < nodes.size(); ++i) nodes[i] = nodes[i - 2 * tree];
  return nodes;
}

// Of the negative centroids (kind 0) and of the others (kind 1).
template <bool kMatrix>
class Magnitudes {
 public:
  Magnitudes(const Grid& grid, std::uint64_t survivors, const std::array<unsigned, 2>& sizes)
      : kernel_(grid.kernel),
        bits_{magnitude_bits(sizes[0]), magnitude_bits(sizes[1])},
        // an almost full tensor spends more on codes, and low bits gain least
        mixed_bits_(survivors > grid.size / 2 ? 2 : kMixedBits),
        kernel_size_(grid.row / grid.kernel, kFirstSize),
        by_place_(magnitude_trees(grid.kernel, kMixedBits, sizes)),
        by_mean_(magnitude_trees(kLevels, kMixedBits, sizes)),
        by_pull_(magnitude_trees(kSignedLevels, kMixedBits, sizes)),
        deep_(magnitude_trees(1, kMaxBits, sizes)),
        mixer_(kMixedBits, percent(33), 8) {}

  void begin_row() { row_size_ = all_size_; }

  // Gives the magnitude: `magnitude` if the coder encodes. "From the highest bit down."
  template <class Coder>
  unsigned code(Coder& coder, unsigned magnitude, bool positive, const Place& at, const Around& a) {
    const int sign = 2 * positive - 1;
    const auto mean = static_cast<unsigned>((row_size_ + kernel_size_[kMatrix ? at.in_row : at.in_row / kernel_]) >> 7);
    const auto tree = [&](std::vector<Counter>& trees, std::size_t context) {
      return trees.data() + ((2 * context + positive) << kMixedBits);
    };
    Counter* const place = tree(by_place_, at.in_kernel);
    Counter* const by_mean = tree(by_mean_, std::min<unsigned>(mean, kLevels - 1));
    Counter* const by_pull = tree(by_pull_, signed_level(sign * a.pull()));
    Counter* const deep = deep_.data() + (std::size_t{positive} << kMaxBits);
    Counter* const middle = kMatrix ? deep : by_pull;
    const unsigned bits = bits_[positive];
    unsigned node = 1, depth = 0;
    for (; depth < std::min(bits, mixed_bits_); ++depth) {
      const bool bit = magnitude >> (bits - 1 - depth) & 1;
      node = 2 * node + mixer_.code(coder, bit, depth, {place + node, by_mean + node, by_pull + node}, kSlow<3>);
    }
    for (; depth < bits; ++depth) {
      Counter& counter = (depth < kMixedBits ? middle : deep)[node];
      node = 2 * node + code_alone(coder, magnitude >> (bits - 1 - depth) & 1, counter, kCountLimit);
    }
    return node - (1u << bits);
  }

  // 1 to 127, the largest magnitude of either kind alike.
  int size_of(unsigned magnitude, bool positive) const {
    return std::max(1, static_cast<int>((magnitude + 1) * 127 >> bits_[positive]));
  }

  void learn(int size, const Place& at) {
    int& kernel_size = kernel_size_[kMatrix ? at.in_row : at.in_row / kernel_];
    row_size_ += (16 * size - row_size_) >> 5;
    all_size_ += (16 * size - all_size_) >> 7;
    kernel_size += (16 * size - kernel_size) >> 4;
  }

 private:
  static constexpr int kFirstSize = 24 * 16;

  std::size_t kernel_;
  std::array<unsigned, 2> bits_;
  unsigned mixed_bits_;
  int row_size_ = 0, all_size_ = kFirstSize;  // means of sizes, in 16ths
  std::vector<int> kernel_size_;
  std::vector<Counter> by_place_, by_mean_, by_pull_, deep_;
  Mixer<3> mixer_;
};

}  // namespace
}  // namespace dcz
