// The form `factored`, for multiplying by one vector in float32 on `portable` and `avx2`: four survivors of a row that
// share a centroid. Their x are summed first, and the centroid is fetched and multiplied once.
//
// A segment (packed/segments/segments.hpp) has groups of four rows, quartets. It sorts a row's survivors by code and
// cuts them into fours: four columns and a code. A turn has a four of each of its four rows. The columns that a four
// lacks, and the fours that a row lacks, name the zero. All centroids are finite.
//
// Sections:
//   shape, codebook, ends, rows, turns
//   columns  u16[16 * turns], within the block, the four of the first row first
//   codes    u8[4 * turns]
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packed/segments/segments.hpp"

namespace dcz {

inline constexpr std::size_t kSharing = 4;
inline constexpr std::size_t kTurnColumns = kQuartet * kSharing;
inline constexpr std::size_t kNamedColumns = 65536;  // that 16 bits can name; the last one of a block is the zero

struct FactoredView : Segments {
  const std::uint16_t* columns;
  const std::uint8_t* codes;

  std::size_t prepared_columns() const { return Segments::prepared_columns(kNamedColumns); }
};

// Throws std::invalid_argument for bytes that are no factored form or that the sections do not fill.
FactoredView factored_view(std::span<const std::uint8_t> packed);

// Checks every end, row, number of turns, column and code. Throws std::invalid_argument.
void check_factored(const FactoredView& view);

// Throws std::invalid_argument for centroids that are not finite.
PageBytes pack_factored(const Matrix& matrix);

// As `multiply`, in float32 alone, one vector after the other.
void multiply_factored(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                       float* y, unsigned threads);

}  // namespace dcz
