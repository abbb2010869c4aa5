// The form `panel`, for multiplying by many vectors in float32: rows of nearly equal length side by side.
//
// A segment (packed/segments/segments.hpp) has groups of four rows, quartets. A turn has an entry of each row, so that
// registers hold four sums for many vectors.
//
// An entry is 16 bits: the column within the block << 8 | the code. A row without a survivor left names the column of
// zeros, with a code whose centroid is finite, and so adds zero.
//
// Sections: shape, codebook, ends, rows, turns; entries u16[4 * turns].
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packed/segments/segments.hpp"

namespace dcz {

inline constexpr std::size_t kMostBlockColumns = 255;  // an entry can name one more, that of zeros

struct PanelView : Segments {
  const std::uint16_t* entries;

  std::size_t prepared_columns() const { return Segments::prepared_columns(kMostBlockColumns); }
};

// Throws std::invalid_argument for bytes that are no panel form or that the sections do not fill.
PanelView panel_view(std::span<const std::uint8_t> packed);

// Checks every end, row, number of turns and entry. Throws std::invalid_argument.
void check_panel(const PanelView& view);

PageBytes pack_panel(const Matrix& matrix);

// As `multiply`, in float32 alone.
void multiply_panel(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                    float* y, unsigned threads);

}  // namespace dcz
