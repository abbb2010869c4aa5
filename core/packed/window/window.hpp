// The form `window`, for multiplying by few vectors: windowed permute-ELL.
//
// A group takes rows that are alike (packed/row_order.hpp). A step has four slots for each of 16 rows. A slot holds a
// survivor or nothing, and the columns of a step lie in one window. A block of a vector is 63 columns and a zero, 64
// elements. A window is some neighbouring blocks: a byte holds the place of a column in its window. Slots with nothing
// point at a zero. Steps come in pairs.
//
// The header's `layout` names one of these. Each suits other kernels:
//   by_row      groups of 16 rows, both steps of a pair have slots for each, and a window of two blocks. For integers
//   by_slot     the same, with places in another order. For floats
//   digits24    by_row, with digits of 24 bits. For one vector of float32, off the grid int8
//   one_window  groups of 32 rows, the first 16 have the slots of step 0, the others those of step 1, and both steps
//               one window of four blocks. For one vector, with one plane of digits. More slots find a survivor, and x
//               is loaded once for both steps; but each plane of x takes three look-ups instead of one
//
// Sections:
//   codebook  f32[1 << code_bits]
//   digits    i8[planes][1 << code_bits]
//   ends      u32[groups], the pairs up to the end of each group
//   order     u32[lanes], the row of each lane of the groups
//   sums      i32[planes][lanes], of the digits of each row
//   starts    u16[windows], the first block of each window
//   fifths    u64[2 * pairs] in one_window with 5 bits a code, else none
//   stream    u8[pairs][pair_bytes]
//
// A pair's stream has the places of step 0 (64 bytes), those of step 1, then the codes. With 4 or 5 bits a code these
// are 64 bytes, step 0 in the low half of a byte; with 8 bits 128 bytes, step 0 first. A place is 64 * block of the
// window + column, or kNothing. The code of slot k of row r of a step is byte 4 * r + k; `place_of` computes the byte
// of its place. The fifth bit of a code is the top bit of the place at byte 4 * r + k. In one_window, whose places have
// 8 bits, it is that bit of the step's word in `fifths`.
//
// Plane 0 has the digits of the grid int8, or the nearest ones. The further planes:
//   by_row and by_slot, grid int16  the low digits (1) and the high ones (2): centroid = scale16 * (256 * high + low)
//   digits24                        three digits between -128 and 127: centroid = about scale16 *
//                                   (65536 * digit 3 + 256 * digit 2 + digit 1), exactly with the grid int16
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packed/activations.hpp"
#include "packed/packed.hpp"

namespace dcz {

inline constexpr std::size_t kStepRows = 16, kStepSlots = 64, kBlockColumns = 63, kBlockElements = 64;
inline constexpr std::uint8_t kNothing = 63;  // the place of a zero
inline constexpr std::uint32_t kNoRow = 0xffffffff;

enum class WindowLayout : std::uint8_t { by_row = 0, by_slot = 1, digits24 = 2, one_window = 3 };

// The byte of a step that has the place of slot k of lane l. by_slot: 16 * (l / 4) + 4 * k + l % 4. It suits floats,
// which unpacking puts together from byte planes, 4 rows of 4 within 16 bytes. Else 4 * l + k. It suits sums of
// integers, where neighbouring bytes are summed.
constexpr std::size_t place_of(WindowLayout layout, std::size_t lane, std::size_t slot) {
  return layout == WindowLayout::by_slot ? 16 * (lane / 4) + 4 * slot + lane % 4 : 4 * lane + slot;
}

// The largest number of three digits between -127 and 127.
inline constexpr std::int32_t kMost24 = 127 * (1 + 256 + 65536);

// For digits24, the largest x is at most so many root mean squares, the largest weight so many mean magnitudes. With
// both rounded, and rows of few survivors, errors stay below 1e-6 of the largest result.
inline constexpr float kMostOutstanding = 8;

// The numbers that follow from a header.
struct WindowShape {
  std::size_t group_rows, windows, planes, pair_bytes;  // windows of a pair, planes of digits
  std::size_t window_blocks;
  std::size_t blocks;      // of a vector, at least those of a window
  std::size_t last_start;  // the last block at which a window may begin

  explicit WindowShape(const PackedHeader& header);
};

// Packed weights in parts. Whatever the bytes are, the sections lie within them. Kernels must still bound each row,
// window and end that they read.
struct WindowView : WindowShape {
  PackedHeader header;
  const float* codebook = nullptr;
  const std::int8_t* digits = nullptr;
  const std::uint32_t* ends = nullptr;
  const std::uint32_t* order = nullptr;
  const std::int32_t* sums = nullptr;
  const std::uint16_t* starts = nullptr;
  const std::uint8_t* fifths = nullptr;
  const std::uint8_t* stream = nullptr;

  explicit WindowView(const PackedHeader& of) : WindowShape(of), header(of) {}

  std::size_t groups() const { return header.units; }
  std::size_t pairs() const { return header.length; }
  WindowLayout layout() const { return static_cast<WindowLayout>(header.layout); }
  bool one_window() const { return layout() == WindowLayout::one_window; }
  std::size_t first_pair(std::size_t group) const { return group == 0 ? 0 : last_pair(group - 1); }
  std::size_t last_pair(std::size_t group) const { return ends[group] < pairs() ? ends[group] : pairs(); }
  // Windows are numbered: two for each pair, or one.
  std::size_t start(std::size_t window) const { return starts[window] < last_start ? starts[window] : last_start; }
  const std::int8_t* digit_plane(std::size_t plane) const { return digits + (plane << header.code_bits); }
  const std::int32_t* sum_plane(std::size_t plane) const { return sums + plane * group_rows * groups(); }
};

// `starts` can number the blocks of so many columns.
inline constexpr std::uint64_t kMostWindowColumns = kBlockColumns * std::uint64_t{0xffff};

// Throws std::invalid_argument for bytes that are no window form or that the sections do not fill.
WindowView window_view(std::span<const std::uint8_t> packed);

// Checks every end, row and start. Throws std::invalid_argument.
void check_window(const WindowView& view);

// The digits of a codebook. The grid `none` has int8 digits alone, the nearest to the centroids.
struct Digits {
  Grid grid;
  float scale8, scale16;
  std::vector<std::int16_t> int8, int16;  // a digit a centroid
};

// Whether 24 bits hold a codebook well enough for the layout digits24. Codes are counted.
bool digits24_fits(const Matrix& matrix, const Digits& digits, unsigned threads = 1);

// digits24 becomes by_slot where 24 bits do not hold the codebook well enough, or the grid int8 holds it.
PageBytes pack_window(const Matrix& matrix, const Digits& digits, WindowLayout layout, unsigned threads = 1);

// As `multiply`.
void multiply_window(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                     float* y, Activations activations, unsigned threads);

// How a product is split: the pairs of each thread that takes part, before any helps another.
std::vector<std::uint64_t> pairs_of_threads(std::span<const std::uint8_t> packed, std::size_t vectors,
                                            Activations activations, unsigned threads);

}  // namespace dcz
