/* Linear layers of int8 activations, weights packed. */
#include "nn.h"

/* The sum of a row's pairs. Four pairs at once: `x` moves by the gaps, and by the columns once. */
static inline int32_t dcz_dot(const uint8_t *pair, uint32_t count, const int8_t *x, int32_t sum) {
  for (; count >= 4; count -= 4) {
    x += pair[0];
    sum += (int8_t)pair[1] * x[0];
    x += pair[2];
    sum += (int8_t)pair[3] * x[1];
    x += pair[4];
    sum += (int8_t)pair[5] * x[2];
    x += pair[6];
    sum += (int8_t)pair[7] * x[3];
    x += 4;
    pair += 8;
  }
  for (; count != 0; --count) {
    x += pair[0];
    sum += (int8_t)pair[1] * *x++;
    pair += 2;
  }
  return sum;
}

dcz_error dcz_linear_i8_packed(const dcz_matrix_i8 *matrix, const dcz_weights *weights,
                               const int8_t *x, int8_t *y, void *work, uint32_t size) {
  (void)work, (void)size;
  const uint8_t *pair = weights->pairs;
  for (uint32_t row = 0; row < matrix->rows; ++row) {
    const uint32_t count = weights->counts[row];
    const int32_t sum = dcz_dot(pair, count, x, matrix->bias ? matrix->bias[row] : 0);
    y[row] = (int8_t)dcz_requantized(&matrix->to, row, sum);
    pair += 2 * count;
  }
  return DCZ_OK;
}

dcz_error dcz_linear_i16_packed(const dcz_matrix_i8 *matrix, const dcz_weights *weights,
                                const int8_t *x, int16_t *y, void *work, uint32_t size) {
  (void)work, (void)size;
  const uint8_t *pair = weights->pairs;
  for (uint32_t row = 0; row < matrix->rows; ++row) {
    const uint32_t count = weights->counts[row];
    const int32_t sum = dcz_dot(pair, count, x, matrix->bias ? matrix->bias[row] : 0);
    y[row] = (int16_t)dcz_requantized(&matrix->to, row, sum);
    pair += 2 * count;
  }
  return DCZ_OK;
}
