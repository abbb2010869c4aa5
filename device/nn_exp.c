/* exp, sigmoid and tanh in float32 without a library. */
#include <float.h>
#include <string.h>

#include "nn.h"

/* exp(x) = 2^k * exp(r), |r| <= ln 2 / 2; exp(r) by its series to r^7. ln 2 is split, so that r is
 * exact to 1e-8. */
float dcz_exp(float x) {
  if (x > 88.7f) return FLT_MAX;
  if (!(x > -87.3f)) return 0.0f;
  const float scaled = x * 1.44269504f;
  const int32_t k = (int32_t)(scaled < 0.0f ? scaled - 0.5f : scaled + 0.5f);
  const float r = (x - (float)k * 0.693145752f) - (float)k * 1.42860677e-6f;
  float sum = 1.0f / 5040;
  sum = sum * r + 1.0f / 720;
  sum = sum * r + 1.0f / 120;
  sum = sum * r + 1.0f / 24;
  sum = sum * r + 1.0f / 6;
  sum = sum * r + 0.5f;
  sum = (sum * r) * r + r;
  const uint32_t bits = (uint32_t)(k + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof power);
  return power + power * sum;
}

float dcz_sigmoid(float x) {
  const float e = dcz_exp(x < 0.0f ? x : -x);
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

float dcz_tanh(float x) {
  const float e = dcz_exp(x < 0.0f ? 2.0f * x : -2.0f * x);
  const float t = (1.0f - e) / (1.0f + e);
  return x < 0.0f ? -t : t;
}
