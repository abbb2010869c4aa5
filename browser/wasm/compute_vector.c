/* Products of packed weights with vectors, one after another. */
#include "compute.h"

#define DCZ_ROWS 8u /* rows at once: their sums and columns stay in registers */

/* Meanings of the matrix at hand: a fixed address spares an addition for each entry. */
static dcz_meaning dcz_table[1024];

/* Computes the sums of DCZ_ROWS rows of a block. Behind x stand zeros as far as fillers reach. */
typedef void dcz_lanes(const dcz_matrix *matrix, const uint32_t *word, const uint32_t *end,
                       const float *x, float *sums);

static float dcz_read(const uint8_t *at) {
  float number;
  memcpy(&number, at, sizeof number);
  return number;
}

/* `per_word` is a constant: all entries of a turn are written out. */
DCZ_INLINE void dcz_unrolled(const uint32_t *word, const uint32_t *end, const float *x, float *sums,
                             const uint32_t per_word) {
  const uint32_t bits = dcz_entry_bits(per_word), mask = (1u << bits) - 1u;
  const uint8_t *at[DCZ_ROWS];
  float sum[DCZ_ROWS];
  for (uint32_t i = 0; i < DCZ_ROWS; ++i) sum[i] = 0.0f, at[i] = (const uint8_t *)(x - 1);
  for (; word < end; word += DCZ_BLOCK) {
    DCZ_UNROLL
    for (uint32_t i = 0; i < DCZ_ROWS; ++i) {
      const uint32_t all = word[i];
      DCZ_UNROLL
      for (uint32_t j = 0; j < per_word; ++j) {
        const dcz_meaning *meaning = &dcz_table[all >> j * bits & mask];
        at[i] += meaning->bytes;
        sum[i] += meaning->weight * dcz_read(at[i]);
      }
    }
  }
  for (uint32_t i = 0; i < DCZ_ROWS; ++i) sums[i] = sum[i];
}

static void dcz_lanes_of_three(const dcz_matrix *matrix, const uint32_t *word, const uint32_t *end,
                               const float *x, float *sums) {
  (void)matrix;
  dcz_unrolled(word, end, x, sums, 3);
}

static void dcz_lanes_of_four(const dcz_matrix *matrix, const uint32_t *word, const uint32_t *end,
                              const float *x, float *sums) {
  (void)matrix;
  dcz_unrolled(word, end, x, sums, 4);
}

static void dcz_lanes_of_any(const dcz_matrix *matrix, const uint32_t *word, const uint32_t *end,
                             const float *x, float *sums) {
  const uint32_t per_word = matrix->per_word, bits = dcz_entry_bits(per_word);
  const uint32_t mask = (1u << bits) - 1u;
  for (uint32_t i = 0; i < DCZ_ROWS; ++i) {
    const uint8_t *at = (const uint8_t *)(x - 1);
    float sum = 0.0f;
    for (const uint32_t *next = word + i; next < end; next += DCZ_BLOCK) {
      uint32_t all = *next;
      for (uint32_t j = 0; j < per_word; ++j, all >>= bits) {
        const uint32_t entry = all & mask;
        const dcz_meaning meaning = matrix->table ? dcz_table[entry] : dcz_mean(matrix, entry);
        at += meaning.bytes;
        sum += meaning.weight * dcz_read(at);
      }
    }
    sums[i] = sum;
  }
}

static void dcz_packed(const dcz_matrix *matrix, const float *x, float *y, dcz_lanes *lanes) {
  if (matrix->table)
    memcpy(dcz_table, matrix->table, sizeof(dcz_meaning) << dcz_entry_bits(matrix->per_word));
  for (uint32_t row = 0; row < matrix->rows; row += DCZ_ROWS) {
    const uint32_t block = row / DCZ_BLOCK;
    const uint32_t *word = matrix->words + matrix->starts[block] + row % DCZ_BLOCK;
    float sums[DCZ_ROWS];
    lanes(matrix, word, matrix->words + matrix->starts[block + 1], x, sums);
    for (uint32_t i = 0; i < DCZ_ROWS && row + i < matrix->rows; ++i) {
      const uint32_t out = matrix->order ? matrix->order[row + i] : row + i;
      y[out] = sums[i] + (matrix->bias ? matrix->bias[out] : 0.0f);
    }
  }
}

static void dcz_packed_products(const dcz_matrix *matrix, const float *x, uint32_t count,
                                uint32_t pitch, float *y) {
  dcz_lanes *lanes = dcz_lanes_of_any;
  if (matrix->per_word == 3) lanes = dcz_lanes_of_three;
  if (matrix->per_word == 4) lanes = dcz_lanes_of_four;
  for (; count != 0; --count, x += pitch, y += matrix->rows) dcz_packed(matrix, x, y, lanes);
}

/* y = W x + bias for `count` vectors x[i], `pitch` numbers apart; y[i] follow each other. Behind
 * each x stand zeros as far as fillers reach (see dcz_web_reach). */
void DCZ_EXPORT(products)(const dcz_matrix *matrix, const float *x, uint32_t count, uint32_t pitch,
                          float *y) {
  if (matrix->dense)
    dcz_dense_products(matrix, x, count, pitch, y);
  else
    dcz_packed_products(matrix, x, count, pitch, y);
}

/* The columns that entries reach, those of fillers at the ends of rows included: the length of x
 * with its zeros. */
uint32_t DCZ_EXPORT(reach)(const dcz_matrix *matrix) {
  uint32_t most = matrix->cols;
  if (matrix->dense) return most;
  const uint32_t bits = dcz_entry_bits(matrix->per_word), mask = (1u << bits) - 1u;
  const uint32_t rows = (matrix->rows + DCZ_BLOCK - 1) / DCZ_BLOCK * DCZ_BLOCK;
  for (uint32_t row = 0; row < rows; ++row) {
    const uint32_t *word = matrix->words + matrix->starts[row / DCZ_BLOCK] + row % DCZ_BLOCK;
    const uint32_t *end = matrix->words + matrix->starts[row / DCZ_BLOCK + 1];
    uint32_t reach = 0;
    for (; word < end; word += DCZ_BLOCK)
      for (uint32_t j = 0; j < matrix->per_word; ++j)
        reach += dcz_mean(matrix, *word >> j * bits & mask).bytes / 4;
    if (reach > most) most = reach;
  }
  return most;
}

/* Writes the meanings of all entries of a matrix. */
void DCZ_EXPORT(meanings)(const dcz_matrix *matrix, dcz_meaning *table, uint32_t codes) {
  const uint32_t entries = 1u << dcz_entry_bits(matrix->per_word);
  memset(table, 0, entries * sizeof *table);
  for (uint32_t entry = 0; entry < entries; ++entry)
    if (entry >> matrix->skip_bits < codes || entry < 1u << matrix->skip_bits)
      table[entry] = dcz_mean(matrix, entry);
}
