/* Linear layers of float32 activations whose weights are decoded at each use. */
#include <string.h>

#include "nn_coded.h"

static dcz_error dcz_coded_sum_f32(dcz_rows *rows, const float *x, float *to) {
  const float *codebook = (const float *)(const void *)rows->codebook;
  float sum = *to;
  dcz_error error;
  if (rows->coder == DCZ_RAW) {
    error = dcz_raw_row(rows);
    for (uint32_t column = 0; error == DCZ_OK && column < rows->cols; ++column) {
      const uint32_t bits = dcz_raw_bits(&rows->bytes);
      float weight;
      memcpy(&weight, &bits, sizeof weight);
      sum += weight * x[column];
    }
    *to = sum;
    return rows->bytes.error;
  }
  error = dcz_row_begin(rows);
  if (error != DCZ_OK) return error;
  DCZ_WALK(rows, column, symbol, { sum += codebook[symbol] * x[column]; })
  *to = sum;
  return dcz_row_end(rows);
}

dcz_error dcz_linear_f32_coded(const dcz_matrix_f32 *matrix, const dcz_weights *weights,
                               const float *x, float *y, void *work, uint32_t size) {
  dcz_rows rows;
  dcz_error error =
      dcz_open_weights(&rows, weights, DCZ_F32, matrix->rows, matrix->cols, work, size);
  for (uint32_t row = 0; error == DCZ_OK && row < matrix->rows; ++row) {
    float sum = matrix->bias ? matrix->bias[row] : 0.0f;
    error = dcz_coded_sum_f32(&rows, x, &sum);
    y[row] = sum < matrix->low ? matrix->low : sum > matrix->high ? matrix->high : sum;
  }
  return error;
}
