// Kernels of the form `tile`, one function for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/kernels.hpp"
#include "packed/tile/tile.hpp"

namespace dcz {

// Which rows are decoded: those of the numbers in `rows`, or if it is null those from `first` on.
struct TileTask {
  const TileView* view;
  const std::int64_t* rows;
  std::size_t first;
  float* out;  // a row of `columns` for each
};

// Decodes rows `begin` to `end` - 1 of the task. Reads codes from no further than the last one on, 64 bytes at a time.
using DecodeTile = void(const TileTask& task, std::size_t begin, std::size_t end);

DecodeTile decode_tile_portable, decode_tile_avx2, decode_tile_avx512;

inline constexpr KernelTable<DecodeTile> kDecodeTile{
    .portable = decode_tile_portable, .avx2 = DCZ_IF_X86(decode_tile_avx2), .avx512 = DCZ_IF_X86(decode_tile_avx512)};

}  // namespace dcz
