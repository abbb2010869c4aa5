// The form `panel`, for multiplying by many vectors in float32: rows of nearly equal length side by side.
//
// Segments (see packed/segments/segments.hpp) of groups of four rows, quartets, of which a turn has an entry each, so
// that four sums for many vectors grow in registers at once.
//
// An entry is 16 bits: the column within the block << 8 | the code. Entries of rows that have no survivor left name the
// column of zeros, with a code whose centroid is finite, and so add zero.
//
// Sections: shape, codebook, ends, rows, turns; entries u16[4 * turns].
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packed/segments/segments.hpp"

namespace dcz {

inline constexpr std::size_t kMostBlockColumns = 255;  // the 256th that an entry can name is that of zeros

struct PanelView : Segments {
  const std::uint16_t* entries;

  std::size_t prepared_columns() const { return Segments::prepared_columns(kMostBlockColumns); }
};

// Throws std::invalid_argument if they are no panel form, or its sections do not fill them.
PanelView panel_view(std::span<const std::uint8_t> packed);

// Holds every end, row, number of turns and entry against its bounds; std::invalid_argument.
void check_panel(const PanelView& view);

std::vector<std::uint8_t> pack_panel(const Matrix& matrix);

// As `multiply`, in float32 alone.
void multiply_panel(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                    float* y, unsigned threads);

}  // namespace dcz
