/* Products of packed weights with 4, 8 or 16 vectors side by side. */
#include "compute.h"

#define DCZ_MOST_FOURS 4u

/* Meanings of the matrix at hand, in bytes of so many vectors. */
static dcz_meaning dcz_wide_table[1024];

/* `used` rows of a block, at most `rows`, times `fours` times four vectors: sums[row][vector]. */
DCZ_INLINE void dcz_wide_lanes(const dcz_matrix *matrix, const uint32_t *word, const uint32_t *end,
                               const uint8_t *x, float *sums, const uint32_t rows,
                               const uint32_t fours) {
  const uint32_t per_word = matrix->per_word, bits = dcz_entry_bits(per_word);
  const uint32_t mask = (1u << bits) - 1u, has_table = matrix->table != 0;
  const uint8_t *at[4];
  dcz_four sum[4][DCZ_MOST_FOURS];
  for (uint32_t i = 0; i < rows; ++i) {
    at[i] = x - 16 * fours;
    for (uint32_t f = 0; f < fours; ++f) sum[i][f] = dcz_all(0.0f);
  }
  for (; word < end; word += DCZ_BLOCK) {
    uint32_t all[4];
    for (uint32_t i = 0; i < rows; ++i) all[i] = word[i];
    for (uint32_t j = 0; j < per_word; ++j) {
      DCZ_UNROLL
      for (uint32_t i = 0; i < rows; ++i) {
        dcz_meaning meaning;
        if (has_table) {
          meaning = dcz_wide_table[all[i] & mask];
        } else {
          meaning = dcz_mean(matrix, all[i] & mask);
          meaning.bytes *= 4 * fours;
        }
        all[i] >>= bits;
        at[i] += meaning.bytes;
        const dcz_four weight = dcz_all(meaning.weight);
        DCZ_UNROLL
        for (uint32_t f = 0; f < fours; ++f) {
          dcz_four numbers;
          memcpy(&numbers, at[i] + 16 * f, sizeof numbers);
          sum[i][f] += weight * numbers;
        }
      }
    }
  }
  for (uint32_t i = 0; i < rows; ++i)
    for (uint32_t f = 0; f < fours; ++f) dcz_store(sums + 4 * (i * fours + f), sum[i][f]);
}

static void dcz_lanes_by_4(const dcz_matrix *matrix, const uint32_t *word, const uint32_t *end,
                           const uint8_t *x, float *sums) {
  dcz_wide_lanes(matrix, word, end, x, sums, 4, 1);
}

static void dcz_lanes_by_8(const dcz_matrix *matrix, const uint32_t *word, const uint32_t *end,
                           const uint8_t *x, float *sums) {
  dcz_wide_lanes(matrix, word, end, x, sums, 4, 2);
}

static void dcz_lanes_by_16(const dcz_matrix *matrix, const uint32_t *word, const uint32_t *end,
                            const uint8_t *x, float *sums) {
  dcz_wide_lanes(matrix, word, end, x, sums, 2, 4);
}

/* y = W x + bias for `count` vectors out of `width` (4, 8 or 16) that lie side by side: number i of
 * vector v is x[width * i + v]. Behind the numbers stand zeros as far as fillers reach (see
 * dcz_web_reach). The results y[v] follow each other. */
void DCZ_EXPORT(side_by_side)(const dcz_matrix *matrix, const float *x, uint32_t width,
                              uint32_t count, float *y) {
  const uint32_t rows = width == 16 ? 2 : 4;
  if (matrix->table)
    for (uint32_t i = 0; i < 1u << dcz_entry_bits(matrix->per_word); ++i) {
      dcz_wide_table[i] = matrix->table[i];
      dcz_wide_table[i].bytes *= width;
    }
  for (uint32_t row = 0; row < matrix->rows; row += rows) {
    const uint32_t block = row / DCZ_BLOCK;
    const uint32_t *word = matrix->words + matrix->starts[block] + row % DCZ_BLOCK;
    const uint32_t *end = matrix->words + matrix->starts[block + 1];
    float sums[4 * 4 * DCZ_MOST_FOURS];
    if (width == 4) dcz_lanes_by_4(matrix, word, end, (const uint8_t *)x, sums);
    if (width == 8) dcz_lanes_by_8(matrix, word, end, (const uint8_t *)x, sums);
    if (width == 16) dcz_lanes_by_16(matrix, word, end, (const uint8_t *)x, sums);
    for (uint32_t i = 0; i < rows && row + i < matrix->rows; ++i) {
      const uint32_t out = matrix->order ? matrix->order[row + i] : row + i;
      const float bias = matrix->bias ? matrix->bias[out] : 0.0f;
      for (uint32_t v = 0; v < count; ++v) y[v * matrix->rows + out] = sums[i * width + v] + bias;
    }
  }
}

/* Vectors (count, cols) side by side: out[width * column + vector], for columns up to `reach`; 0
 * where there is no number. */
void DCZ_EXPORT(interleave)(const float *x, uint32_t count, uint32_t cols, uint32_t width,
                            uint32_t reach, float *out) {
  for (uint32_t column = 0; column < cols; ++column, out += width) {
    for (uint32_t i = 0; i < count; ++i) out[i] = x[i * cols + column];
    for (uint32_t i = count; i < width; ++i) out[i] = 0.0f;
  }
  memset(out, 0, 4u * width * (reach - cols));
}
