// The form `tile` with ordinary registers: compiled for plain CPUs and for those with AVX2 and BMI2.
#pragma once

#include <cstring>

#include "common/bit_walk.hpp"
#include "packed/tile/kernel.hpp"

namespace dcz {
namespace {

template <bool kNibbles>
inline void decode_row_scalar(const TileView& view, std::size_t row, float* out) {
  const std::size_t columns = view.header.columns, survivors = view.header.survivors;
  std::size_t code = view.starts[row];
  std::memset(out, 0, columns * sizeof(float));
  each_word({view.bitmap + row * view.row_bytes, view.row_bytes}, 0, columns,
            [&](std::uint64_t word, std::uint64_t at) {
              if (code > survivors) code = survivors;
              std::size_t next = code;
              each_bit_of(word, at, [&](std::uint64_t column) {
                const unsigned number = kNibbles ? view.codes[next / 2] >> (4 * (next % 2)) & 15 : view.codes[next];
                out[column] = view.codebook[number & ((1u << view.header.code_bits) - 1)];
                ++next;
              });
              code = next;
            });
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
