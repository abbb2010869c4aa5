/* Elementwise layers and softmax of float32 activations. */
#include "nn.h"

static float dcz_clipped(float x, float low, float high) {
  return x < low ? low : x > high ? high : x;
}

void dcz_clip_f32(float low, float high, const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = dcz_clipped(x[i], low, high);
}

void dcz_leaky_f32(float slope, const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = x[i] < 0.0f ? slope * x[i] : x[i];
}

void dcz_sigmoid_f32(const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = dcz_sigmoid(x[i]);
}

void dcz_tanh_f32(const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = dcz_tanh(x[i]);
}

void dcz_hard_sigmoid_f32(float slope, float offset, const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = dcz_clipped(slope * x[i] + offset, 0.0f, 1.0f);
}

void dcz_hard_swish_f32(const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = x[i] * dcz_clipped(x[i] * (1.0f / 6) + 0.5f, 0.0f, 1.0f);
}

void dcz_elu_f32(float alpha, const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = x[i] < 0.0f ? alpha * (dcz_exp(x[i]) - 1.0f) : x[i];
}

/* Abramowitz and Stegun, 7.1.26: to 2e-7 absolute. */
static float dcz_erf(float x) {
  const float size = x < 0.0f ? -x : x;
  const float t = 1.0f / (1.0f + 0.3275911f * size);
  float sum = 1.061405429f;
  sum = sum * t - 1.453152027f;
  sum = sum * t + 1.421413741f;
  sum = sum * t - 0.284496736f;
  sum = sum * t + 0.254829592f;
  const float erf = 1.0f - sum * t * dcz_exp(-size * size);
  return x < 0.0f ? -erf : erf;
}

void dcz_gelu_f32(const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = 0.5f * x[i] * (1.0f + dcz_erf(x[i] * 0.707106781f));
}

void dcz_gelu_tanh_f32(const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) {
    const float inner = 0.797884561f * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
    y[i] = 0.5f * x[i] * (1.0f + dcz_tanh(inner));
  }
}

void dcz_silu_f32(const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = x[i] * dcz_sigmoid(x[i]);
}

void dcz_scale_f32(const float *factor, const float *offset, const float *x, float *y,
                   uint32_t channels, uint32_t plane) {
  for (uint32_t channel = 0; channel < channels; ++channel)
    for (uint32_t i = 0; i < plane; ++i) *y++ = *x++ * factor[channel] + offset[channel];
}

void dcz_add_f32(const float *a, const float *b, float *y, uint32_t channels, uint32_t plane,
                 int wide) {
  for (uint32_t channel = 0; channel < channels; ++channel) {
    for (uint32_t i = 0; i < plane; ++i) {
      *y++ = *a++ + *b;
      if (wide) ++b;
    }
    if (!wide) ++b;
  }
}

void dcz_multiply_f32(const float *a, const float *b, float *y, uint32_t channels, uint32_t plane,
                      int wide) {
  for (uint32_t channel = 0; channel < channels; ++channel) {
    for (uint32_t i = 0; i < plane; ++i) {
      *y++ = *a++ * *b;
      if (wide) ++b;
    }
    if (!wide) ++b;
  }
}

void dcz_softmax_f32(const float *x, float *y, uint32_t rows, uint32_t n) {
  for (uint32_t row = 0; row < rows; ++row, x += n, y += n) {
    float most = x[0], total = 0.0f;
    for (uint32_t i = 1; i < n; ++i)
      if (x[i] > most) most = x[i];
    for (uint32_t i = 0; i < n; ++i) total += y[i] = dcz_exp(x[i] - most);
    for (uint32_t i = 0; i < n; ++i) y[i] = y[i] / total;
  }
}
