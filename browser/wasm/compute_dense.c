/* Products of dense weights with vectors. */
#include "compute.h"

/* Four rows, `rows_pitch` apart, times two vectors: each number that is loaded serves two or four
 * times. */
static void dcz_four_by_two(const float *rows, uint32_t rows_pitch, const float *x, const float *z,
                            uint32_t cols, float sums[8]) {
  const float *a = rows, *b = a + rows_pitch, *c = b + rows_pitch, *d = c + rows_pitch;
  const dcz_four zero = dcz_all(0.0f);
  dcz_four ax = zero, bx = zero, cx = zero, dx = zero, az = zero, bz = zero, cz = zero, dz = zero;
  uint32_t i = 0;
  for (; i + 4 <= cols; i += 4) {
    const dcz_four of_x = dcz_load(x + i), of_z = dcz_load(z + i);
    dcz_four row = dcz_load(a + i);
    ax += row * of_x, az += row * of_z;
    row = dcz_load(b + i);
    bx += row * of_x, bz += row * of_z;
    row = dcz_load(c + i);
    cx += row * of_x, cz += row * of_z;
    row = dcz_load(d + i);
    dx += row * of_x, dz += row * of_z;
  }
  sums[0] = dcz_sum(ax), sums[1] = dcz_sum(bx), sums[2] = dcz_sum(cx), sums[3] = dcz_sum(dx);
  sums[4] = dcz_sum(az), sums[5] = dcz_sum(bz), sums[6] = dcz_sum(cz), sums[7] = dcz_sum(dz);
  for (; i < cols; ++i) {
    sums[0] += a[i] * x[i], sums[1] += b[i] * x[i], sums[2] += c[i] * x[i], sums[3] += d[i] * x[i];
    sums[4] += a[i] * z[i], sums[5] += b[i] * z[i], sums[6] += c[i] * z[i], sums[7] += d[i] * z[i];
  }
}

/* Four rows times one vector, by two registers a row. */
static void dcz_four_by_one(const float *rows, uint32_t rows_pitch, const float *x, uint32_t cols,
                            float sums[4]) {
  const uint32_t pairs = cols / 8 * 8;
  const float *a = rows, *b = a + rows_pitch, *c = b + rows_pitch, *d = c + rows_pitch;
  const dcz_four zero = dcz_all(0.0f);
  dcz_four a0 = zero, b0 = zero, c0 = zero, d0 = zero, a1 = zero, b1 = zero, c1 = zero, d1 = zero;
  for (uint32_t i = 0; i < pairs; i += 8) {
    const dcz_four first = dcz_load(x + i), second = dcz_load(x + i + 4);
    a0 += dcz_load(a + i) * first, a1 += dcz_load(a + i + 4) * second;
    b0 += dcz_load(b + i) * first, b1 += dcz_load(b + i + 4) * second;
    c0 += dcz_load(c + i) * first, c1 += dcz_load(c + i + 4) * second;
    d0 += dcz_load(d + i) * first, d1 += dcz_load(d + i + 4) * second;
  }
  sums[0] = dcz_sum(a0 + a1), sums[1] = dcz_sum(b0 + b1);
  sums[2] = dcz_sum(c0 + c1), sums[3] = dcz_sum(d0 + d1);
  for (uint32_t i = pairs; i < cols; ++i)
    sums[0] += a[i] * x[i], sums[1] += b[i] * x[i], sums[2] += c[i] * x[i], sums[3] += d[i] * x[i];
}

void dcz_dense_products(const dcz_matrix *matrix, const float *x, uint32_t count, uint32_t pitch,
                        float *y) {
  const uint32_t rows = matrix->rows, cols = matrix->cols;
  for (uint32_t row = 0, used; row < rows; row += used) {
    /* the last rows come one at a time, four times the same */
    used = rows - row < 4 ? 1 : 4;
    const uint32_t rows_pitch = used == 4 ? cols : 0;
    const float *line = matrix->dense + row * cols;
    for (uint32_t i = 0; i < count; i += 2) {
      const uint32_t two = count - i > 1;
      float sums[8];
      if (two)
        dcz_four_by_two(line, rows_pitch, x + i * pitch, x + (i + 1) * pitch, cols, sums);
      else
        dcz_four_by_one(line, rows_pitch, x + i * pitch, cols, sums);
      for (uint32_t vector = 0; vector <= two; ++vector)
        for (uint32_t j = 0; j < used; ++j) {
          const float bias = matrix->bias ? matrix->bias[row + j] : 0.0f;
          y[(i + vector) * rows + row + j] = sums[4 * vector + j] + bias;
        }
    }
  }
}
