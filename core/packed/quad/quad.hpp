// The form `quad`, for multiplying by many vectors of int8: the survivors of a row four at a time.
//
// A segment (packed/segments/segments.hpp) has groups of one row, runs. Kernels compute two of nearly equal length side
// by side. A turn is four entries of the row, a four.
//
// An entry is 16 bits: the column within the block << code_bits | the code. Entries that fill the last four of a run
// name the column of zeros, with a code whose centroid is finite, and so add zero. A zero there is the byte 0, as in
// the form `window`: see kOffset8.
//
// Sections:
//   shape, codebook
//   digits   i8[1 << code_bits], of the grid int8 or nearest to it
//   sums     i32[rows], of the digits of each row
//   ends, rows, turns
//   entries  u16[4 * turns]
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packed/activations.hpp"
#include "packed/segments/segments.hpp"

namespace dcz {

inline constexpr std::size_t kFour = 4;
// The products of a run, each at most 127 * 127, then add up to less than 2^24: exactly, in float32 too.
inline constexpr std::size_t kMostQuadColumns = 1023;
inline constexpr std::size_t kMostFours = (kMostQuadColumns + kFour - 1) / kFour;

struct QuadView : Segments {
  const std::int8_t* digits;
  const std::int32_t* sums;
  const std::uint16_t* entries;

  std::size_t prepared_columns() const { return Segments::prepared_columns(std::size_t{0x10000} >> header.code_bits); }
};

// Throws std::invalid_argument for bytes that are no quad form or that the sections do not fill.
QuadView quad_view(std::span<const std::uint8_t> packed);

// Checks every end, row, number of fours and entry. Throws std::invalid_argument.
void check_quad(const QuadView& view);

// A digit for each centroid, -127 to 127, on the grid int8 or nearest to it: centroid = about scale8 * digit.
struct Digits8 {
  Grid grid;  // none or int8
  float scale8;
  std::span<const std::int16_t> digits;
};

PageBytes pack_quad(const Matrix& matrix, const Digits8& digits);

// As `multiply`. In int8 the bits are those of the form `window`. The form suits int8: float32 is slow.
void multiply_quad(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                   float* y, Activations activations, unsigned threads);

}  // namespace dcz
