/* Products of a matrix with many columns of numbers that lie side by side: vectors, or the pixels
 * of an image. */
#include "compute.h"

static inline dcz_four dcz_at(const uint8_t *x, uint32_t offset) {
  dcz_four four;
  memcpy(&four, x + offset, sizeof four);
  return four;
}

/* Places of one row, `fours` times four: sums of weight * x[offset + place]. */
DCZ_INLINE void dcz_sum_survivors(const dcz_term *entry, const dcz_term *end, const uint8_t *x,
                                  float bias, float *y, const uint32_t fours) {
  dcz_four sum[4];
  for (uint32_t i = 0; i < fours; ++i) sum[i] = dcz_all(bias);
  for (; entry != end; ++entry) {
    const dcz_four weight = dcz_all(entry->weight);
    const uint32_t offset = entry->offset;
    DCZ_UNROLL
    for (uint32_t i = 0; i < fours; ++i) sum[i] += weight * dcz_at(x, offset + 16 * i);
  }
  for (uint32_t i = 0; i < fours; ++i) dcz_store(y + 4 * i, sum[i]);
}

/* Four rows times eight places. */
static void dcz_sum_eight(const float *rows, uint32_t cols, const uint32_t *offsets,
                          const uint8_t *x, const float *bias, float *y, uint32_t pitch,
                          uint32_t count) {
  dcz_four a = dcz_all(bias[0]), b = dcz_all(bias[1]), c = dcz_all(bias[2]), d = dcz_all(bias[3]);
  dcz_four e = a, f = b, g = c, h = d;
  for (uint32_t column = 0; column < cols; ++column, rows += 4) {
    const dcz_four first = dcz_at(x, offsets[column]), second = dcz_at(x, offsets[column] + 16);
    a += dcz_all(rows[0]) * first, e += dcz_all(rows[0]) * second;
    b += dcz_all(rows[1]) * first, f += dcz_all(rows[1]) * second;
    c += dcz_all(rows[2]) * first, g += dcz_all(rows[2]) * second;
    d += dcz_all(rows[3]) * first, h += dcz_all(rows[3]) * second;
  }
  dcz_store(y, a), dcz_store(y + 4, e);
  if (count > 1) dcz_store(y + pitch, b), dcz_store(y + pitch + 4, f);
  if (count > 2) dcz_store(y + 2 * pitch, c), dcz_store(y + 2 * pitch + 4, g);
  if (count > 3) dcz_store(y + 3 * pitch, d), dcz_store(y + 3 * pitch + 4, h);
}

static void dcz_sparse_row(const dcz_term *entry, const dcz_term *end, const uint8_t *x, float bias,
                           float *y, uint32_t places) {
  uint32_t place = 0;
  for (; place + 16 <= places; place += 16)
    dcz_sum_survivors(entry, end, x + 4 * place, bias, y + place, 4);
  if (place + 8 <= places) {
    dcz_sum_survivors(entry, end, x + 4 * place, bias, y + place, 2);
    place += 8;
  }
  for (; place < places; place += 4)
    dcz_sum_survivors(entry, end, x + 4 * place, bias, y + place, 1);
}

/* Rows `from` to `to` of y = W x + bias at `places` places: y[row - from][place], `pitch` apart,
 * from the sums of weight * x[offsets[column] + place] (offsets in bytes). With `dense`, zeros are
 * multiplied too, four rows at a time. x and the rows of y have room for places up to the next
 * multiple of 8. `scratch` has 16 bytes a column, and 16 bytes more. */
void DCZ_EXPORT(tiles)(const dcz_matrix *matrix, uint32_t from, uint32_t to,
                       const uint32_t *offsets, const uint8_t *x, uint32_t places, float *y,
                       uint32_t pitch, int dense, void *scratch) {
  if (!dense) {
    dcz_term *survivors = (dcz_term *)scratch;
    for (uint32_t row = from; row < to; ++row, y += pitch) {
      const uint32_t count = dcz_row_survivors(matrix, row, offsets, survivors);
      const float bias = matrix->bias ? matrix->bias[row] : 0.0f;
      dcz_sparse_row(survivors, survivors + count, x, bias, y, places);
    }
    return;
  }
  float *rows = (float *)scratch;
  for (uint32_t row = from; row < to; row += 4, y += 4 * pitch) {
    const uint32_t count = to - row < 4 ? to - row : 4;
    float bias[4] = {0, 0, 0, 0};
    for (uint32_t i = 0; matrix->bias && i < count; ++i) bias[i] = matrix->bias[row + i];
    dcz_four_rows(matrix, row, count, rows);
    for (uint32_t place = 0; place < places; place += 8)
      dcz_sum_eight(rows, matrix->cols, offsets, x + 4 * place, bias, y + place, pitch, count);
  }
}
