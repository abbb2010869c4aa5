// The walk through a panel's segments keeps within every bound that bytes could break. Each file that is compiled for
// an instruction set of its own includes this once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packed/segments/segments.hpp"

namespace dcz {
namespace {

inline std::size_t at_most(std::size_t value, std::size_t limit) { return value < limit ? value : limit; }

// Rows that are computed together. Their turns begin at `first_turn`.
struct Group {
  const std::uint16_t* rows;
  std::size_t first_turn, turns;
};

// Gives the groups of a panel, segment by segment.
template <std::size_t kGroupRows>
class Groups {
 public:
  Groups(const Segments& segments, std::size_t panel) : segments_(segments), segment_(panel * segments.blocks) {
    if (segment_ == 0) return;
    group_ = end_ = segments.ends[segment_ - 1].groups;
    turn_ = at_most(segments.ends[segment_ - 1].turns, segments.header.length);
  }

  void enter_segment() { end_ = at_most(segments_.ends[segment_++].groups, segments_.shape.groups); }

  // False if the segment has no more.
  bool next(Group& group) {
    if (group_ >= end_) return false;
    group.rows = segments_.rows + kGroupRows * group_;
    group.first_turn = turn_;
    group.turns = at_most(segments_.turns[group_], segments_.header.length - turn_);
    turn_ += group.turns;
    ++group_;
    return true;
  }

 private:
  const Segments& segments_;
  std::size_t segment_, group_ = 0, end_ = 0, turn_ = 0;
};

// visit(block, group) for each group of a panel, block by block.
template <std::size_t kGroupRows, typename Visit>
inline void each_group(const Segments& segments, std::size_t panel, const Visit& visit) {
  Groups<kGroupRows> groups(segments, panel);
  for (std::size_t block = 0; block < segments.blocks; ++block) {
    groups.enter_segment();
    for (Group group; groups.next(group);) visit(block, group);
  }
}

// The columns of a block, and their place in the prepared vectors.
template <typename T>
struct Block {
  std::size_t begin, count;
  T* prepared;
};

// A prepared column has `width` of T.
template <typename T>
inline Block<T> block_at(const Segments& segments, std::size_t block, T* prepared, std::size_t width) {
  const std::size_t columns = segments.shape.block_columns, begin = block * columns;
  return {begin, at_most(columns, segments.header.columns - begin), prepared + block * (columns + 1) * width};
}

// The rows of a panel, and of y.
struct PanelRows {
  std::size_t first, count;
};

inline PanelRows rows_of(const Segments& segments, std::size_t panel) {
  const std::size_t first = panel * segments.shape.panel_rows;
  return {first, at_most(segments.shape.panel_rows, segments.header.rows - first)};
}

// 256 centroids, zeros behind the codebook's.
struct Centroids {
  alignas(64) float table[256];

  explicit Centroids(const Segments& segments) {
    const std::size_t count = std::size_t{1} << segments.header.code_bits;
    for (std::size_t i = 0; i < 256; ++i) table[i] = i < count ? segments.codebook[i] : 0.0f;
  }
};

}  // namespace
}  // namespace dcz
