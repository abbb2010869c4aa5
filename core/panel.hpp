// The form `panel`, for multiplying by many vectors in float32: rows of nearly equal length side by side.
//
// Columns are cut into blocks of `block_columns`, rows into panels of `panel_rows`; the survivors of a panel in a block
// are a segment, and segments follow each other panel by panel. In a segment, rows with survivors are sorted by their
// number, the most first, and taken four at a time: a quartet. It has as many turns as its first row has survivors; a
// turn has an entry for each of its four rows, so that four sums for many vectors grow in registers at once.
//
// An entry is 16 bits: the column within the block << 8 | the code. Vectors are prepared with a column of zeros behind
// each block: entries of rows that have no survivor left point there, with a code whose centroid is finite, and so add
// zero. A quartet of fewer than four rows has the row number `panel_rows` for those it lacks, whose sums no one reads.
//
// Sections: shape, PanelShape; codebook f32[1 << code_bits]; ends, SegmentEnd[panels * blocks]; rows u16[4 * quartets],
// within the panel; turns u16[quartets]; entries u16[4 * turns]. The header's `length` counts the turns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packed.hpp"

namespace dcz {

inline constexpr std::size_t kQuartet = 4;
inline constexpr std::size_t kMostBlockColumns = 255;  // the 256th that an entry can name is that of zeros
inline constexpr std::size_t kMostPanelRows = 1024;

struct PanelShape {
  std::uint32_t block_columns, panel_rows;
  std::uint64_t quartets;
};

// Behind the last quartet and the last turn of a segment.
struct SegmentEnd {
  std::uint32_t quartets, turns;
};

// A packed matrix in parts. Whatever the bytes, the sections lie within them and `shape` within its limits; kernels
// must still bound each end, row, number of turns and entry that they read.
struct PanelView {
  PackedHeader header;
  PanelShape shape;
  std::size_t blocks;
  const float* codebook;
  const SegmentEnd* ends;
  const std::uint16_t* rows;
  const std::uint16_t* turns;
  const std::uint16_t* entries;

  std::size_t panels() const { return header.units; }
  // The columns of a prepared vector: those of the blocks, zeros behind each, and what the last block lacks of the 256
  // that an entry can name.
  std::size_t prepared_columns() const { return blocks * (shape.block_columns + std::size_t{1}) + kMostBlockColumns; }
};

// Throws std::invalid_argument if they are no panel form, or its sections do not fill them.
PanelView panel_view(std::span<const std::uint8_t> packed);

// Holds every end, row, number of turns and entry against its bounds; std::invalid_argument.
void check_panel(const PanelView& view);

std::vector<std::uint8_t> pack_panel(const Matrix& matrix);

}  // namespace dcz
