// The form `tile` in scalar code: compiled for plain CPUs and for those with AVX2 and BMI2.
#pragma once

#include <algorithm>

#include "common/bit_walk.hpp"
#include "packed/tile/kernel.hpp"

namespace dcz {
namespace {

template <bool kNibbles>
inline void decode_row_scalar(const TileView& view, std::size_t row, float* out) {
  const std::size_t columns = view.header.columns, survivors = view.header.survivors;
  std::size_t code = view.starts[row];
  std::fill_n(out, columns, 0.0f);
  each_word({view.bitmap + row * view.row_bytes, view.row_bytes}, 0, columns,
            [&](std::uint64_t word, std::uint64_t at) {
              if (code > survivors) code = survivors;
              std::size_t next = code;
              each_bit_of(word, at, [&](std::uint64_t column) {
                out[column] = view.codebook[code_at<kNibbles>(view, next++) & ((1u << view.header.code_bits) - 1)];
              });
              code = next;
            });
}

inline void decode_tile_scalar(const TileTask& task, std::size_t begin, std::size_t end) {
  each_row(task, begin, end,
           [&](auto nibbles, std::size_t row, float* out) { decode_row_scalar<nibbles()>(*task.view, row, out); });
}

}  // namespace
}  // namespace dcz
