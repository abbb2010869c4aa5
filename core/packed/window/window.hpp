// The form `window`, for multiplying by few vectors: windowed permute-ELL.
//
// Rows are taken in groups of 16 that are alike (packed/row_order.hpp). A step has four slots for each row of its
// group: a survivor each, whose columns lie in one window, or nothing. Vectors are cut into blocks of 63 columns and a
// zero: 64 elements, of which a window is two neighbours, so that 7 bits tell the place of a column in its window, and
// slots with nothing point at a zero. Steps come in pairs.
//
// Sections: codebook f32[1 << code_bits]; digits i8[planes][1 << code_bits]; ends u32[groups], the pairs up to the end
// of each group; order u32[16 * groups], the row of each lane; sums i32[planes][16 * groups], of the digits of each
// row; starts u16[2 * pairs], the first block of each step's window; stream u8[pairs][stream_bytes].
//
// A pair's stream: the places of step 0 (64 bytes), those of step 1, then the codes. With 4 or 5 bits a code these are
// 64 bytes, step 0 in the low half of a byte, and the top bit of a place is the fifth bit; with 8 bits 128 bytes, step
// 0 first. The code of slot k of lane l is byte 4 * l + k, and so is the fifth bit; where its place is, SlotOrder says.
//
// Planes of digits: of the grid int8, or nearest to it (plane 0); with the grid int16 also the low digits (1) and the
// high ones (2), centroid = scale16 * (256 * high + low).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packed/packed.hpp"

namespace dcz {

inline constexpr std::size_t kStepRows = 16, kStepSlots = 64, kBlockColumns = 63, kBlockElements = 64;
inline constexpr std::uint8_t kNothing = 63;  // a place with a zero
inline constexpr std::uint32_t kNoRow = 0xffffffff;

// Which byte of a step is the place of slot k of lane l. by_row: 4 * l + k, which suits sums of integers, where
// neighbouring bytes are summed. by_slot: 16 * (l / 4) + 4 * k + l % 4, which suits floats, put together from byte
// planes by unpacking 4 rows of 4 within 16 bytes.
enum class SlotOrder : std::uint8_t { by_row = 0, by_slot = 1 };

constexpr std::size_t place_of(SlotOrder order, std::size_t lane, std::size_t slot) {
  return order == SlotOrder::by_row ? 4 * lane + slot : 16 * (lane / 4) + 4 * slot + lane % 4;
}

// A packed matrix in parts. Whatever the bytes, the sections lie within them; kernels must still bound each row, block
// and end that they read.
struct WindowView {
  PackedHeader header;
  std::size_t blocks;  // of a vector, the last of them empty: windows begin at those before it
  std::size_t planes;  // of digits
  std::size_t group_rows;
  std::size_t stream_bytes;  // of a pair
  const float* codebook;
  const std::int8_t* digits;
  const std::uint32_t* ends;
  const std::uint32_t* order;
  const std::int32_t* sums;
  const std::uint16_t* starts;
  const std::uint8_t* fifths;  // of the form wide
  const std::uint8_t* stream;

  std::size_t groups() const { return header.units; }
  std::size_t pairs() const { return header.length; }
  SlotOrder slots() const { return static_cast<SlotOrder>(header.slots); }
  std::size_t first_pair(std::size_t group) const { return group == 0 ? 0 : last_pair(group - 1); }
  std::size_t last_pair(std::size_t group) const { return ends[group] < pairs() ? ends[group] : pairs(); }
  std::size_t start(std::size_t step) const {
    const std::size_t last = blocks - 2;
    return starts[step] < last ? starts[step] : last;
  }
  const std::int8_t* digit_plane(std::size_t plane) const { return digits + (plane << header.code_bits); }
  const std::int32_t* sum_plane(std::size_t plane) const { return sums + plane * group_rows * groups(); }
};

// Throws std::invalid_argument if they are no window form, or its sections do not fill them.
WindowView window_view(std::span<const std::uint8_t> packed);

// Holds every end, row and start against its bounds; std::invalid_argument.
void check_window(const WindowView& view);

// Digits of a codebook, as the caller found them: `grid` none has only int8 digits, nearest to the centroids.
struct Digits {
  Grid grid;
  float scale8, scale16;
  std::vector<std::int16_t> int8, int16;  // a digit a centroid
};

std::vector<std::uint8_t> pack_window(const Matrix& matrix, const Digits& digits, SlotOrder slots);

}  // namespace dcz
