// The form `wide`, for multiplying by one vector with AVX-512: like `window`, but that a pair may have one window, of
// four blocks. Its steps are then of other rows, 16 each, of a group of 32. More slots find a survivor, and x is loaded
// once for both steps; but each plane of x takes three look-ups instead of one, so that it pays where few planes of x
// and of digits make up the time.
//
// Groups of rows, blocks of 63 columns and places within a block are as in packed/window/window.hpp. With kTwoWindows
// groups have 16 rows, and both steps of a pair four slots for each, and a window of two blocks. Else groups have 32
// rows, the first 16 the slots of step 0, the others those of step 1, and both one window of four blocks. A place is
// 64 * block of the window + column, or kNothing.
//
// Sections: codebook f32[1 << code_bits]; digits i8[planes][1 << code_bits]; ends u32[groups], the pairs up to the end
// of each group; order u32[lanes], the row of each lane; sums i32[planes][lanes], of the digits of each row; starts
// u16[windows * pairs], the first block of each window; fifths u64[2 * pairs] with 5 bits a code, else none; stream
// u8[pairs][stream_bytes].
//
// A pair's stream: the places of step 0 (64 bytes), those of step 1, then the codes. With 4 or 5 bits a code these are
// 64 bytes, step 0 in the low half of a byte; with 8 bits 128 bytes, step 0 first. Place and code of slot k of row r
// of a step are byte 4 * r + k, and so is the bit of a code in `fifths`, a word a step.
//
// Planes of digits: of the grid int8, or nearest to it (plane 0). With two windows, off that grid, where 24 bits hold
// the codebook well enough (kDigits24), three more, each between -128 and 127: centroid = about scale16 * (65536 *
// digit 3 + 256 * digit 2 + digit 1), exactly with the grid int16. All centroids are finite.
#pragma once

#include "packed/window/window.hpp"

namespace dcz {

// Bits of the header's `slots`.
inline constexpr std::uint8_t kDigits24 = 1, kTwoWindows = 2;

// The largest number of three digits between -127 and 127.
inline constexpr std::int32_t kMost24 = 127 * (1 + 256 + 65536);

// How many times the root mean square of x, or the mean magnitude of the weights, their largest may be for 24 bits.
// With both rounded, and rows of few survivors, errors stay below 1e-6 of the largest result.
inline constexpr float kMostOutstanding = 8;

// The digits that float32 vectors are multiplied by, and their scale.
struct WideDigits {
  std::size_t first, count;  // planes; 0 if they are multiplied by the codebook
  float scale;
};

// A packed matrix in parts, as with WindowView, but for `start`.
struct WideView : WindowView {
  bool two_windows() const { return (header.slots & kTwoWindows) != 0; }
  std::size_t window_blocks() const { return two_windows() ? 2 : 4; }
  WideDigits digits24() const {
    if (header.grid == Grid::int8) return {0, 1, header.scale8};
    return {1, planes - 1, header.scale16};
  }
  std::size_t last_start() const { return blocks - window_blocks(); }
  std::size_t start(std::size_t pair, std::size_t step) const {
    const std::size_t found = starts[two_windows() ? 2 * pair + step : pair];
    return found < last_start() ? found : last_start();
  }
};

// Throws std::invalid_argument if they are no wide form, or its sections do not fill them.
WideView wide_view(std::span<const std::uint8_t> packed);

// Holds every end, row and start against its bounds; std::invalid_argument.
void check_wide(const WideView& view);

// Two windows for float32 off the grid int8, one for all else; what it is not packed for is multiplied in floats, or in
// other windows, more slowly. Throws std::invalid_argument for centroids that are not finite.
std::vector<std::uint8_t> pack_wide(const Matrix& matrix, const Digits& digits, bool two_windows);

}  // namespace dcz
