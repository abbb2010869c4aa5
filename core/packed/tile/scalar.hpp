// The form `tile` with ordinary registers: compiled for plain CPUs and for those with AVX2 and BMI2.
#pragma once

#include <bit>
#include <cstring>

#include "common/bits.hpp"
#include "packed/tile/kernel.hpp"

namespace dcz {
namespace {

// The bits of `count` columns, 1 to 64, from byte `bits` on.
inline std::uint64_t load_bits(const std::uint8_t* bits, std::size_t count) {
  if (count == 64) return load_le64(bits);
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < (count + 7) / 8; ++i) word |= std::uint64_t{bits[i]} << (8 * i);
  return word & ((std::uint64_t{1} << count) - 1);
}

template <bool kNibbles>
inline void decode_row_scalar(const TileView& view, std::size_t row, float* out) {
  const std::size_t columns = view.header.columns, survivors = view.header.survivors;
  const std::uint8_t* bits = view.bitmap + row * view.row_bytes;
  std::size_t code = view.starts[row];
  for (std::size_t column = 0; column < columns; column += 64, bits += 8) {
    const std::size_t count = columns - column < 64 ? columns - column : 64;
    std::memset(out + column, 0, count * sizeof(float));
    if (code > survivors) code = survivors;
    for (std::uint64_t word = load_bits(bits, count); word != 0; word &= word - 1, ++code) {
      const unsigned number = kNibbles ? view.codes[code / 2] >> (4 * (code % 2)) & 15 : view.codes[code];
      out[column + static_cast<std::size_t>(std::countr_zero(word))] =
          view.codebook[number & ((1u << view.header.code_bits) - 1)];
    }
  }
}

inline void decode_tile_scalar(const TileTask& task, std::size_t begin, std::size_t end) {
  const TileView& view = *task.view;
  for (std::size_t i = begin; i < end; ++i) {
    const std::size_t row = task.rows ? static_cast<std::size_t>(task.rows[i]) : task.first + i;
    float* const out = task.out + i * view.header.columns;
    if (view.header.code_bits == 4) {
      decode_row_scalar<true>(view, row, out);
    } else {
      decode_row_scalar<false>(view, row, out);
    }
  }
}

}  // namespace
}  // namespace dcz
