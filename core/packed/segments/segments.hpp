// The forms `panel`, `quad` and `factored` share segments: their layout, how they are found and checked.
//
// Blocks are `block_columns` columns, panels `panel_rows` rows. The survivors of a panel in a block are a segment, and
// segments follow each other panel by panel. A segment sorts its rows with survivors by their number, the most first.
// It takes a few rows at a time, a group; the form sets their number. A group has as many turns as its first row needs.
// Turns follow group by group; each form has its own.
//
// A prepared vector has a zero, or a column of zeros, behind each block. The padding of a turn points there. A group
// that lacks rows names the row `panel_rows` for them. Nobody reads its sums.
//
// The sections of all three forms:
//   shape     SegmentShape
//   codebook  f32[1 << code_bits]
//   ends      SegmentEnd[panels * blocks]
//   rows      u16[of all groups], within the panel
//   turns     u16[groups]
// The header's `length` counts the turns, its `units` the panels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "packed/packed.hpp"

namespace dcz {

inline constexpr std::size_t kMostPanelRows = 1024;
inline constexpr std::size_t kQuartet = 4;  // rows of a group in the forms `panel` and `factored`

struct SegmentShape {
  std::uint32_t block_columns, panel_rows;
  std::uint64_t groups;
};

// The numbers of groups and turns up to the end of a segment.
struct SegmentEnd {
  std::uint32_t groups, turns;
};

// The limits of one form.
struct SegmentLimits {
  Form form;
  std::size_t group_rows;
  std::size_t most_columns;        // of a block
  std::size_t most_turns = 65535;  // of a group
};

// The parts that the three forms share. Whatever the bytes are, the sections lie within them and `shape` within its
// limits. Kernels must still bound each end, row, number of turns and all else that they read.
struct Segments {
  PackedHeader header;
  SegmentShape shape;
  std::size_t blocks;
  const float* codebook;
  const SegmentEnd* ends;
  const std::uint16_t* rows;
  const std::uint16_t* turns;

  std::size_t panels() const { return header.units; }

  // The columns of a prepared vector: those of the blocks, a zero behind each, and `named` more, so that none that
  // bytes can name lies outside.
  std::size_t prepared_columns(std::size_t named) const {
    return blocks * (shape.block_columns + std::size_t{1}) + named;
  }

  // Threads for the panels: each needs `worth_a_thread` of the work.
  unsigned parts_for(std::size_t work, std::size_t worth_a_thread, unsigned threads) const {
    const std::size_t most = std::max<std::size_t>(1, std::min(work / worth_a_thread, panels()));
    return static_cast<unsigned>(std::min<std::size_t>(threads, most));
  }
};

inline std::size_t blocks_of(std::uint64_t columns, const SegmentShape& shape) {
  return static_cast<std::size_t>((columns + shape.block_columns - 1) / shape.block_columns);
}

// Finds shape and codebook, then the sections that `next` and `find_groups` are called for. All functions throw
// std::invalid_argument.
class SegmentReader : public SectionReader {
 public:
  SegmentReader(std::span<const std::uint8_t> packed, const SegmentLimits& limits, Segments& found);

  // Ends, rows and turns.
  void find_groups();

 private:
  const SegmentLimits limits_;
  Segments& found_;
};

// Checks every end, row and number of turns. Throws std::invalid_argument.
void check_groups(const Segments& segments, const SegmentLimits& limits);

// Whether a value is larger than `last`.
template <typename T>
bool any_past(const T* values, std::size_t count, std::size_t last) {
  return std::any_of(values, values + count, [last](T value) { return value > last; });
}

}  // namespace dcz
