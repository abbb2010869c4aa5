/* Elementwise layers and softmax of int8 activations. */
#include "nn.h"

void dcz_table_i8(const int8_t table[256], const int8_t *x, int8_t *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = table[x[i] + 128];
}

void dcz_rescale_i8(const dcz_requantize *to, const int8_t *x, int8_t *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = (int8_t)dcz_requantized(to, 0, x[i]);
}

void dcz_scale_i8(const dcz_requantize *to, const int32_t *offset, const int8_t *x, int8_t *y,
                  uint32_t channels, uint32_t plane) {
  for (uint32_t channel = 0; channel < channels; ++channel) {
    const int32_t factor = to->multiplier[channel], add = offset[channel];
    for (uint32_t i = 0; i < plane; ++i)
      *y++ = (int8_t)dcz_clamp((*x++ * factor + add) >> to->post, to->low, to->high);
  }
}

void dcz_add_i8(const dcz_requantize *to, const int8_t *a, const int8_t *b, int8_t *y,
                uint32_t channels, uint32_t plane, int wide) {
  const int32_t factor_a = to->multiplier[0], factor_b = to->multiplier[1];
  const int32_t half = (int32_t)1 << (to->post - 1);
  for (uint32_t channel = 0; channel < channels; ++channel) {
    for (uint32_t i = 0; i < plane; ++i) {
      const int32_t sum = *a++ * factor_a + *b * factor_b + half;
      *y++ = (int8_t)dcz_clamp(sum >> to->post, to->low, to->high);
      if (wide) ++b;
    }
    if (!wide) ++b;
  }
}

void dcz_multiply_i8(const dcz_requantize *to, const int8_t *a, const int8_t *b, int8_t *y,
                     uint32_t channels, uint32_t plane, int wide) {
  for (uint32_t channel = 0; channel < channels; ++channel) {
    for (uint32_t i = 0; i < plane; ++i) {
      *y++ = (int8_t)dcz_requantized(to, 0, *a++ * *b);
      if (wide) ++b;
    }
    if (!wide) ++b;
  }
}

void dcz_softmax_i8(const uint16_t table[255], const int8_t *x, int8_t *y, uint32_t rows,
                    uint32_t n) {
  for (uint32_t row = 0; row < rows; ++row, x += n, y += n) {
    int32_t most = -128;
    for (uint32_t i = 0; i < n; ++i)
      if (x[i] > most) most = x[i];
    uint32_t total = 0;
    for (uint32_t i = 0; i < n; ++i) total += table[most - x[i]];
    for (uint32_t i = 0; i < n; ++i)
      y[i] = (int8_t)((127u * table[most - x[i]] + total / 2) / total);
  }
}
