// The walk through a panel's segments, with every bound that bytes could break: included once by each file that is
// compiled for an instruction set of its own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packed/segments/segments.hpp"

namespace dcz {
namespace {

inline std::size_t at_most(std::size_t value, std::size_t limit) { return value < limit ? value : limit; }

// Rows that are computed together: theirs are the turns from `first_turn` on.
struct Group {
  const std::uint16_t* rows;
  std::size_t first_turn, turns;
};

// Gives the groups of a panel, segment by segment.
template <std::size_t kGroupRows, std::size_t kMostTurns = 65535>
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
    group.turns = at_most(at_most(segments_.turns[group_], kMostTurns), segments_.header.length - turn_);
    turn_ += group.turns;
    ++group_;
    return true;
  }

 private:
  const Segments& segments_;
  std::size_t segment_, group_ = 0, end_ = 0, turn_ = 0;
};

// The columns of a block, and where they stand when they are prepared.
template <typename T>
struct Block {
  std::size_t begin, count;
  T* prepared;
};

// `width` of T stand for a prepared column.
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

// As many centroids as 8 bits can name; those that the codebook lacks are zero.
struct Centroids {
  alignas(64) float table[256];

  explicit Centroids(const Segments& segments) {
    const std::size_t count = std::size_t{1} << segments.header.code_bits;
    for (std::size_t i = 0; i < 256; ++i) table[i] = i < count ? segments.codebook[i] : 0.0f;
  }
};

}  // namespace
}  // namespace dcz
