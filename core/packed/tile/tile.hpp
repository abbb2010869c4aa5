// The form `tile`, for convolutions and embeddings: some rows at a time are decoded into the cache.
//
// Sections:
//   codebook  f32[1 << code_bits]
//   starts    u32[rows + 1], the number of codes before each row, and of all
//   bitmap    u8[rows][row_bytes], each row in whole bytes
//   codes     of the survivors in the order of the bitmap: two a byte with 4 bits a code, the first in the low half,
//             else one a byte; then 64 bytes that kernels may read
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packed/packed.hpp"

namespace dcz {

// Packed weights in parts. Whatever the bytes are, the sections lie within them. Kernels must still bound the number of
// the first code that they read.
struct TileView {
  PackedHeader header;
  std::size_t row_bytes;
  const float* codebook;
  const std::uint32_t* starts;
  const std::uint8_t* bitmap;
  const std::uint8_t* codes;
};

// Throws std::invalid_argument for bytes that are no tile form or that the sections do not fill.
TileView tile_view(std::span<const std::uint8_t> packed);

// Checks every start, code and the bits behind the last column. Throws std::invalid_argument.
void check_tile(const TileView& view);

PageBytes pack_tile(const Matrix& matrix);

// Dense rows, which must exist: count x columns.
void decode_tile(std::span<const std::uint8_t> packed, const RowNumbers& rows, float* out, unsigned threads);

}  // namespace dcz
