/* Linear layers of int8 activations whose weights are decoded at each use. */
#include "nn_coded.h"

static dcz_error dcz_coded_sum(dcz_rows *rows, const int8_t *x, int32_t *to) {
  int32_t sum = *to;
  dcz_error error;
  if (rows->coder == DCZ_RAW) {
    error = dcz_raw_row(rows);
    for (uint32_t left = rows->cols; error == DCZ_OK && left != 0;) {
      const uint32_t count = dcz_at_hand(&rows->bytes, left);
      const uint8_t *end = rows->bytes.now + count;
      for (const uint8_t *now = rows->bytes.now; now != end; ++now) sum += (int8_t)*now * *x++;
      rows->bytes.now = end;
      left -= count;
    }
    *to = sum;
    return rows->bytes.error;
  }
  error = dcz_row_begin(rows);
  if (error != DCZ_OK) return error;
  DCZ_WALK(rows, column, symbol, { sum += (int8_t)symbol * x[column]; })
  *to = sum;
  return dcz_row_end(rows);
}

dcz_error dcz_linear_i8_coded(const dcz_matrix_i8 *matrix, const dcz_weights *weights,
                              const int8_t *x, int8_t *y, void *work, uint32_t size) {
  dcz_rows rows;
  dcz_error error =
      dcz_open_weights(&rows, weights, DCZ_I8, matrix->rows, matrix->cols, work, size);
  for (uint32_t row = 0; error == DCZ_OK && row < matrix->rows; ++row) {
    int32_t sum = matrix->bias ? matrix->bias[row] : 0;
    error = dcz_coded_sum(&rows, x, &sum);
    y[row] = (int8_t)dcz_requantized(&matrix->to, row, sum);
  }
  return error;
}

dcz_error dcz_linear_i16_coded(const dcz_matrix_i8 *matrix, const dcz_weights *weights,
                               const int8_t *x, int16_t *y, void *work, uint32_t size) {
  dcz_rows rows;
  dcz_error error =
      dcz_open_weights(&rows, weights, DCZ_I8, matrix->rows, matrix->cols, work, size);
  for (uint32_t row = 0; error == DCZ_OK && row < matrix->rows; ++row) {
    int32_t sum = matrix->bias ? matrix->bias[row] : 0;
    error = dcz_coded_sum(&rows, x, &sum);
    y[row] = (int16_t)dcz_requantized(&matrix->to, row, sum);
  }
  return error;
}
