// The form `factored`, for multiplying by one vector in float32 on `portable` and `avx2`: survivors of one row that
// share a centroid, four at a time, so that x is summed first and the centroid is fetched and multiplied once for the
// four.
//
// Columns are cut into blocks of `block_columns`, rows into panels of `panel_rows`; the survivors of a panel in a block
// are a segment, and segments follow each other panel by panel. In a segment, each row has its survivors sorted by code
// and cut into fours: four columns and a code. Rows with survivors are sorted by their number of fours, the most first,
// and taken four at a time: a quartet. It has as many turns as its first row has fours; a turn has a four of each of
// its four rows.
//
// Vectors are prepared with a zero behind each block: columns that a four lacks, and the fours that a row lacks, point
// there. A quartet of fewer than four rows has the row number `panel_rows` for those it lacks, whose sums no one reads.
// All centroids are finite.
//
// Sections: shape, PanelShape; codebook f32[1 << code_bits]; ends, SegmentEnd[panels * blocks]; rows u16[4 * quartets],
// within the panel; turns u16[quartets]; columns u16[16 * turns], within the block, the four of the first row first;
// codes u8[4 * turns]. The header's `length` counts the turns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "panel.hpp"

namespace dcz {

inline constexpr std::size_t kSharing = 4;
inline constexpr std::size_t kTurnColumns = kQuartet * kSharing;
inline constexpr std::size_t kNamedColumns = 65536;  // that 16 bits can name: the last one of a block is the zero

// A packed matrix in parts. Whatever the bytes, the sections lie within them and `shape` within its limits; kernels
// must still bound each end, row, number of turns, column and code that they read.
struct FactoredView {
  PackedHeader header;
  PanelShape shape;
  std::size_t blocks;
  const float* codebook;
  const SegmentEnd* ends;
  const std::uint16_t* rows;
  const std::uint16_t* turns;
  const std::uint16_t* columns;
  const std::uint8_t* codes;

  std::size_t panels() const { return header.units; }
  // The floats of a prepared vector: blocks, a zero behind each, and what the last one lacks of all that 16 bits name.
  std::size_t prepared_columns() const { return blocks * (shape.block_columns + std::size_t{1}) + kNamedColumns; }
};

// Throws std::invalid_argument if they are no factored form, or its sections do not fill them.
FactoredView factored_view(std::span<const std::uint8_t> packed);

// Holds every end, row, number of turns, column and code against its bounds; std::invalid_argument.
void check_factored(const FactoredView& view);

// Throws std::invalid_argument for centroids that are not finite.
std::vector<std::uint8_t> pack_factored(const Matrix& matrix);

}  // namespace dcz
