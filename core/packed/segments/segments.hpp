// What the forms `panel`, `quad` and `factored` share: segments, how their bytes are found again and checked.
//
// Columns are cut into blocks of `block_columns`, rows into panels of `panel_rows`; the survivors of a panel in a block
// are a segment, and segments follow each other panel by panel. In a segment, rows with survivors are sorted by how
// much there is of them, the most first, and taken a few at a time: a group, whose number of rows is the form's. Group
// by group follow turns, of which a group has as many as its first row needs: what a turn is, the form says.
//
// Vectors are prepared with a zero, or a column of them, behind each block: what fills up a turn points there. A group
// of fewer rows than it should have names the row `panel_rows` for those it lacks, whose sums no one reads.
//
// The sections that all have: shape, SegmentShape; codebook f32[1 << code_bits]; ends, SegmentEnd[panels * blocks];
// rows u16[of all groups], within the panel; turns u16[groups]. The header's `length` counts the turns, its `units` the
// panels.
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

// Behind the last group and the last turn of a segment.
struct SegmentEnd {
  std::uint32_t groups, turns;
};

// A form's own numbers.
struct SegmentLimits {
  Form form;
  std::size_t group_rows;
  std::size_t most_columns;        // of a block
  std::size_t most_turns = 65535;  // of a group
};

// The parts that all have of a packed matrix. Whatever the bytes, the sections lie within them and `shape` within its
// limits; kernels must still bound each end, row, number of turns and whatever else they read.
struct Segments {
  PackedHeader header;
  SegmentShape shape;
  std::size_t blocks;
  const float* codebook;
  const SegmentEnd* ends;
  const std::uint16_t* rows;
  const std::uint16_t* turns;

  std::size_t panels() const { return header.units; }

  // The columns of a prepared vector, of which so many can be named: those of the blocks, zeros behind each, and enough
  // behind the last one that no name leads further.
  std::size_t prepared_columns(std::size_t named) const {
    return blocks * (shape.block_columns + std::size_t{1}) + named;
  }

  // Threads for the panels, if each is worth it only with so much of the work.
  unsigned parts_for(std::size_t work, std::size_t worth_a_thread, unsigned threads) const {
    const std::size_t most = std::max<std::size_t>(1, std::min(work / worth_a_thread, panels()));
    return static_cast<unsigned>(std::min<std::size_t>(threads, most));
  }
};

inline std::size_t blocks_of(std::uint64_t columns, const SegmentShape& shape) {
  return static_cast<std::size_t>((columns + shape.block_columns - 1) / shape.block_columns);
}

// Finds the sections one after the other: first shape and codebook, then what `next` and `find_groups` are called for.
// All throw std::invalid_argument.
class SegmentReader {
 public:
  SegmentReader(std::span<const std::uint8_t> packed, const SegmentLimits& limits, Segments& found);

  template <typename T>
  const T* next(std::size_t count) {
    return reinterpret_cast<const T*>(section(sizeof(T) * count));
  }

  // Ends, rows and turns.
  void find_groups();

  // The sections must fill the bytes.
  void finish() const;

 private:
  const std::uint8_t* section(std::size_t bytes);

  const std::span<const std::uint8_t> packed_;
  const SegmentLimits limits_;
  Segments& found_;
  Sections sections_;
};

// Holds every end, row and number of turns against its bounds; std::invalid_argument.
void check_groups(const Segments& segments, const SegmentLimits& limits);

// Whether one of them is larger than `last`.
template <typename T>
bool any_past(const T* values, std::size_t count, std::size_t last) {
  return std::any_of(values, values + count, [last](T value) { return value > last; });
}

}  // namespace dcz
