/* Rows out of packed weights: as survivors, or dense. */
#include "compute.h"

/* The words of a row of the matrix. */
typedef struct {
  const uint32_t *word, *end;
} dcz_words;

static dcz_words dcz_words_of(const dcz_matrix *matrix, uint32_t row) {
  const uint32_t at = matrix->stored ? matrix->stored[row] : row, block = at / DCZ_BLOCK;
  const dcz_words words = {matrix->words + matrix->starts[block] + at % DCZ_BLOCK,
                           matrix->words + matrix->starts[block + 1]};
  return words;
}

uint32_t dcz_row_survivors(const dcz_matrix *matrix, uint32_t row, const uint32_t *offsets,
                           dcz_term *out) {
  const uint32_t bits = dcz_entry_bits(matrix->per_word), mask = (1u << bits) - 1u;
  const uint32_t skips = (1u << matrix->skip_bits) - 1u, last = matrix->cols - 1u;
  const dcz_term *const begin = out;
  uint32_t column = 0u - 1u;
  for (dcz_words at = dcz_words_of(matrix, row); at.word < at.end; at.word += DCZ_BLOCK) {
    uint32_t word = *at.word;
    for (uint32_t i = 0; i < matrix->per_word; ++i, word >>= bits) {
      const uint32_t entry = word & mask;
      const dcz_meaning meaning = matrix->table ? matrix->table[entry] : dcz_mean(matrix, entry);
      column += meaning.bytes / 4;
      /* written in any case, kept if it is a survivor: no branch to predict */
      out->offset = offsets[column < last ? column : last];
      out->weight = meaning.weight;
      out += (entry & skips) != skips;
    }
  }
  return (uint32_t)(out - begin);
}

static void dcz_spread(const dcz_matrix *matrix, uint32_t row, float *out) {
  const uint32_t bits = dcz_entry_bits(matrix->per_word), mask = (1u << bits) - 1u;
  const uint32_t skips = (1u << matrix->skip_bits) - 1u;
  out -= 4;
  for (dcz_words at = dcz_words_of(matrix, row); at.word < at.end; at.word += DCZ_BLOCK) {
    uint32_t word = *at.word;
    for (uint32_t i = 0; i < matrix->per_word; ++i, word >>= bits) {
      const dcz_meaning meaning = dcz_mean(matrix, word & mask);
      out += meaning.bytes;
      if ((word & skips) != skips) *out = meaning.weight;
    }
  }
}

void dcz_four_rows(const dcz_matrix *matrix, uint32_t row, uint32_t count, float *out) {
  const uint32_t cols = matrix->cols;
  memset(out, 0, 16u * cols);
  for (uint32_t i = 0; i < count; ++i) {
    if (!matrix->dense) {
      dcz_spread(matrix, row + i, out + i);
      continue;
    }
    const float *line = matrix->dense + (row + i) * cols;
    for (uint32_t column = 0; column < cols; ++column) out[4 * column + i] = line[column];
  }
}
