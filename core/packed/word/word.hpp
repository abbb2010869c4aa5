// The form `word`, for products on GPUs: each thread walks a part of a row and adds up its survivors.
//
//   pair   skip_bits + code_bits bits: code << skip_bits | skip
//          skip 0 to most - 1: a survivor of weight codebook[code], behind so many zeros; most = 2^skip_bits - 1
//          skip most:          a filler: so many zeros, no survivor; its code is 0
//          So each pair reaches at = column + skip, and the next one begins at column = at + (survivor ? 1 : 0).
//   word   u32 of word_pairs = 32 / (skip_bits + code_bits) pairs, the first in the lowest bits; the bits behind are 0
//   part   the words of a row that one thread takes. All rows have 1, 2, 4, 8, 16 or 32 parts. A part begins at a
//          column of its own, so no thread needs the columns of another
//   block  32 parts, of 32 / parts stored rows: part p of the block's row r is lane r * parts + p
//   turn   the words that a block takes at once: one for each lane, 128 bytes
//
// Parts of fewer words than their block's longest end in fillers. Only these reach behind the last column.
// Stored rows are those of the matrix by their number of words, the most first.
//
// The header's `layout` is skip_bits | log2(parts) << 4, `units` the number of blocks, `length` that of turns.
//
// Sections:
//   codebook  f32[1 << code_bits], zeros behind the centroids
//   order     u16[block_rows * blocks], or u32 for more than 65535 rows: the row of the matrix that each stored row is;
//             the largest number behind the last
//   starts    u32[blocks + 1], the turns before each block, and all
//   columns   u16[32 * blocks], or u32 for more than 65535 columns of the matrix: where each part begins
//   words     u32[turns][32]
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packed/packed.hpp"

namespace dcz {

inline constexpr std::size_t kBlockParts = 32, kWordBits = 32;
inline constexpr unsigned kMostSkipBits = 12, kMostPartBits = 5;  // of a skip; log2 of the parts of a row
inline constexpr std::uint64_t kMostNarrow = 0xffff;              // rows, or columns, that 16 bits number
inline constexpr std::uint32_t kNoStoredRow = 0xffffffff;
// GPUs number survivors and columns by 31 bits. A skip added to a column stays within them.
inline constexpr std::uint64_t kMostWordSurvivors = 0x7fffffff, kMostWordColumns = 0x7fff0000;

// The numbers that follow from a header.
struct WordShape {
  unsigned skip_bits, pair_bits, word_pairs;
  std::size_t parts;       // of a row
  std::size_t block_rows;  // stored rows of a block
  bool wide, many;         // columns of parts, or numbers of rows, take 32 bits

  explicit WordShape(const PackedHeader& header);
};

// Packed weights in parts. Whatever the bytes are, the sections lie within them. Kernels must still bound each row,
// start and column that they read.
struct WordView : WordShape {
  PackedHeader header;
  const float* codebook = nullptr;
  const std::uint8_t* order = nullptr;
  const std::uint32_t* starts = nullptr;
  const std::uint8_t* columns = nullptr;
  const std::uint32_t* words = nullptr;

  explicit WordView(const PackedHeader& of) : WordShape(of), header(of) {}

  std::size_t blocks() const { return header.units; }
  std::uint32_t most() const { return (1u << skip_bits) - 1; }
  // Turns of a block, and columns, whatever the bytes are.
  std::size_t start(std::size_t block) const { return starts[block] < header.length ? starts[block] : header.length; }
  std::uint64_t column(std::size_t part) const { return number(columns, wide, part); }
  // The row of the matrix, or kNoStoredRow, or whatever bytes that are not checked say.
  std::uint32_t row(std::size_t stored) const {
    const std::uint32_t found = number(order, many, stored);
    return !many && found == kMostNarrow ? kNoStoredRow : found;
  }

 private:
  static std::uint32_t number(const std::uint8_t* section, bool in_32_bits, std::size_t at) {
    return in_32_bits ? reinterpret_cast<const std::uint32_t*>(section)[at]
                      : reinterpret_cast<const std::uint16_t*>(section)[at];
  }
};

// Throws std::invalid_argument for bytes that are no word form or that the sections do not fill.
WordView word_view(std::span<const std::uint8_t> packed);

// Checks every start, row, column and code. Throws std::invalid_argument.
void check_word(const WordView& view);

// Throws std::invalid_argument for more than kMostWordSurvivors or kMostWordColumns.
PageBytes pack_word(const Matrix& matrix);

// As `multiply`, in float32 alone.
void multiply_word(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                   float* y, unsigned threads);

// Dense rows, which must exist: count x columns. Rows that spoilt bytes do not store are 0.
void decode_word(std::span<const std::uint8_t> packed, const RowNumbers& rows, float* out, unsigned threads);

}  // namespace dcz
