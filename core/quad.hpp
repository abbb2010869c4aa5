// The form `quad`, for multiplying by many vectors of int8: the survivors of a row four at a time.
//
// Columns are cut into blocks of `block_columns`, rows into panels of `panel_rows`; the survivors of a panel in a block
// are a segment, and segments follow each other panel by panel. The survivors of a row in a segment are a run; runs are
// sorted by their length, the longest first, since kernels compute two side by side. A run is so many fours of entries.
//
// An entry is 16 bits: the column within the block << code_bits | the code. Vectors are prepared with a column of zeros
// behind each block: entries that fill the last four of a run point there, with a code whose centroid is finite, and so
// add zero. A zero there is the byte 0, as in the form `window`: see kOffset8.
//
// Sections: shape, QuadShape; codebook f32[1 << code_bits]; digits i8[1 << code_bits], of the grid int8 or nearest to
// it; sums i32[rows], of the digits of each row; ends, RunEnd[panels * blocks]; rows u16[runs], within the panel; fours
// u16[runs]; entries u16[4 * fours]. The header's `length` counts the fours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packed.hpp"

namespace dcz {

inline constexpr std::size_t kFour = 4;
inline constexpr std::size_t kMostQuadRows = 1024;
// Products of a run, each at most 127 * 127, then add up to less than 2^24: exactly, in float32 too.
inline constexpr std::size_t kMostQuadColumns = 1023;
inline constexpr std::size_t kMostFours = (kMostQuadColumns + kFour - 1) / kFour;

struct QuadShape {
  std::uint32_t block_columns, panel_rows;
  std::uint64_t runs;
};

// Behind the last run and the last four of a segment.
struct RunEnd {
  std::uint32_t runs, fours;
};

// A packed matrix in parts. Whatever the bytes, the sections lie within them and `shape` within its limits; kernels
// must still bound each end, row and number of fours that they read.
struct QuadView {
  PackedHeader header;
  QuadShape shape;
  std::size_t blocks;
  const float* codebook;
  const std::int8_t* digits;
  const std::int32_t* sums;
  const RunEnd* ends;
  const std::uint16_t* rows;
  const std::uint16_t* fours;
  const std::uint16_t* entries;

  std::size_t panels() const { return header.units; }
  // The columns of a prepared vector: those of the blocks, zeros behind each, and as many as an entry can name, so that
  // none reads behind them.
  std::size_t prepared_columns() const {
    return blocks * (shape.block_columns + std::size_t{1}) + (std::size_t{0x10000} >> header.code_bits);
  }
};

// Throws std::invalid_argument if they are no quad form, or its sections do not fill them.
QuadView quad_view(std::span<const std::uint8_t> packed);

// Holds every end, row, number of fours and entry against its bounds; std::invalid_argument.
void check_quad(const QuadView& view);

// A digit a centroid, from -127 to 127, on the grid int8 or nearest to the centroids; centroid = about scale8 * digit.
struct Digits8 {
  Grid grid;  // none or int8
  float scale8;
  std::span<const std::int16_t> digits;
};

std::vector<std::uint8_t> pack_quad(const Matrix& matrix, const Digits8& digits);

}  // namespace dcz
