// Kernels of the form `tile`, one function for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

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
using DecodeTile = void (*)(const TileTask& task, std::size_t begin, std::size_t end);

void decode_tile_portable(const TileTask& task, std::size_t begin, std::size_t end);
#if defined(DCZ_X86)
void decode_tile_avx2(const TileTask& task, std::size_t begin, std::size_t end);
void decode_tile_avx512(const TileTask& task, std::size_t begin, std::size_t end);
#endif

}  // namespace dcz
