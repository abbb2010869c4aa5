// Kernels of the form `tile`, one function for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "common/kernels.hpp"
#include "packed/tile/tile.hpp"

namespace dcz {

struct TileTask {
  const TileView* view;
  RowNumbers rows;
  float* out;  // a row of `columns` for each
};

// Code number i: with 4 bits two share a byte.
template <bool kNibbles>
static inline unsigned code_at(const TileView& view, std::size_t i) {
  return kNibbles ? view.codes[i / 2] >> (4 * (i % 2)) & 15u : view.codes[i];
}

// Calls decode(4 bits a code?, row, out) for rows `begin` to `end` - 1 of the task. The first argument is a constant.
template <typename Decode>
inline void each_row(const TileTask& task, std::size_t begin, std::size_t end, const Decode& decode) {
  const TileView& view = *task.view;
  for (std::size_t i = begin; i < end; ++i) {
    const std::size_t row = task.rows.at(i);
    float* const out = task.out + i * view.header.columns;
    if (view.header.code_bits == 4) {
      decode(std::true_type{}, row, out);
    } else {
      decode(std::false_type{}, row, out);
    }
  }
}

// Decodes rows `begin` to `end` - 1 of the task. Kernels read 64 bytes of codes at once, from the last code at most.
using DecodeTile = void(const TileTask& task, std::size_t begin, std::size_t end);

DecodeTile decode_tile_portable, decode_tile_avx2, decode_tile_avx512;

inline constexpr KernelTable<DecodeTile> kDecodeTile{
    .portable = decode_tile_portable, .avx2 = DCZ_IF_X86(decode_tile_avx2), .avx512 = DCZ_IF_X86(decode_tile_avx512)};

}  // namespace dcz
