/* Linear layers of float32 activations, weights packed. */
#include "nn.h"

dcz_error dcz_linear_f32_packed(const dcz_matrix_f32 *matrix, const dcz_weights *weights,
                                const float *x, float *y, void *work, uint32_t size) {
  (void)work, (void)size;
  const uint8_t *pair = weights->pairs;
  const float *codebook = weights->codebook;
  for (uint32_t row = 0; row < matrix->rows; ++row) {
    float sum = matrix->bias ? matrix->bias[row] : 0.0f;
    const float *at = x;
    uint32_t count = weights->counts[row];
    for (; count >= 4; count -= 4) {
      at += pair[0];
      sum += codebook[pair[1]] * at[0];
      at += pair[2];
      sum += codebook[pair[3]] * at[1];
      at += pair[4];
      sum += codebook[pair[5]] * at[2];
      at += pair[6];
      sum += codebook[pair[7]] * at[3];
      at += 4;
      pair += 8;
    }
    for (; count != 0; --count) {
      at += pair[0];
      sum += codebook[pair[1]] * *at++;
      pair += 2;
    }
    y[row] = sum < matrix->low ? matrix->low : sum > matrix->high ? matrix->high : sum;
  }
  return DCZ_OK;
}
