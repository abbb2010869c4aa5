/* Products of a matrix with one vector. */
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

/* Four rows share the loads of x. */
static void dcz_dense_rows(const float *rows, uint32_t cols, uint32_t pitch, const float *x,
                           float *sums) {
  const float *a = rows, *b = a + pitch, *c = b + pitch, *d = c + pitch;
  dcz_four sum_a = dcz_all(0), sum_b = sum_a, sum_c = sum_a, sum_d = sum_a;
  dcz_four more_a = sum_a, more_b = sum_a, more_c = sum_a, more_d = sum_a;
  uint32_t i = 0;
  for (; i + 8 <= cols; i += 8) {
    const dcz_four first = dcz_load(x + i), second = dcz_load(x + i + 4);
    sum_a += dcz_load(a + i) * first, more_a += dcz_load(a + i + 4) * second;
    sum_b += dcz_load(b + i) * first, more_b += dcz_load(b + i + 4) * second;
    sum_c += dcz_load(c + i) * first, more_c += dcz_load(c + i + 4) * second;
    sum_d += dcz_load(d + i) * first, more_d += dcz_load(d + i + 4) * second;
  }
  sums[0] = dcz_sum(sum_a + more_a), sums[1] = dcz_sum(sum_b + more_b);
  sums[2] = dcz_sum(sum_c + more_c), sums[3] = dcz_sum(sum_d + more_d);
  for (; i < cols; ++i) {
    sums[0] += a[i] * x[i], sums[1] += b[i] * x[i];
    sums[2] += c[i] * x[i], sums[3] += d[i] * x[i];
  }
}

static void dcz_dense(const dcz_matrix *matrix, const float *x, float *y) {
  const uint32_t cols = matrix->cols;
  for (uint32_t row = 0; row < matrix->rows; row += 4) {
    const uint32_t left = matrix->rows - row, count = left < 4 ? left : 4;
    float sums[4];
    if (count == 4)
      dcz_dense_rows(matrix->dense + row * cols, cols, cols, x, sums);
    else
      for (uint32_t i = 0; i < count; ++i) {
        float four[4];
        dcz_dense_rows(matrix->dense + (row + i) * cols, cols, 0, x, four);
        sums[i] = four[0];
      }
    for (uint32_t i = 0; i < count; ++i)
      y[row + i] = sums[i] + (matrix->bias ? matrix->bias[row + i] : 0.0f);
  }
}

/* y = W x + bias. Behind x stand zeros as far as the matrix's fillers reach (see dcz_reach). */
void DCZ_EXPORT(vector)(const dcz_matrix *matrix, const float *x, float *y) {
  if (matrix->dense) {
    dcz_dense(matrix, x, y);
    return;
  }
  switch (matrix->per_word) {
    case 3:
      dcz_packed(matrix, x, y, dcz_lanes_of_three);
      break;
    case 4:
      dcz_packed(matrix, x, y, dcz_lanes_of_four);
      break;
    default:
      dcz_packed(matrix, x, y, dcz_lanes_of_any);
      break;
  }
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
