/* Centroids by adaptive probabilities. docs/format.md, "Centroids". */
#include "adaptive.h"

/* "The lowest bits, the highest of these first." */
static uint64_t take_plain(dcz_mixing *mixing, uint32_t count) {
  uint64_t found = 0;
  while (count-- > 0) found = found << 1 | dcz_mixing_bit(mixing, 32768);
  return found;
}

/* The size of a step: 0 if it is impossible. */
static int32_t take_size(dcz_mixing *mixing, dcz_counter counters[18], int32_t expected,
                         int32_t most) {
  int32_t off = 0, distance = 1, up;
  if (dcz_mixing_alone(mixing, counters + 16, 255)) {
    up = dcz_mixing_alone(mixing, counters + 17, 255) ? 1 : -1;
    while (dcz_mixing_alone(mixing, counters + (distance < 15 ? distance : 15), 255)) {
      ++distance;
      if (expected + up * distance < 2 || expected + up * distance > most) return 0;
    }
    off = up * distance;
  }
  return expected + off < 2 || expected + off > most ? 0 : expected + off;
}

dcz_error dcz_adaptive_centroids(dcz_adaptive *a, uint32_t centroids) {
  const uint32_t width = 8u * a->elements->size;
  const uint64_t largest = ~UINT64_C(0) >> (64 - width);
  dcz_counter counters[18];
  uint64_t ordered = 0;
  int32_t last = (int32_t)width + 8, before = last, size;
  uint32_t i;
  for (i = 0; i < 18; ++i) counters[i] = DCZ_COUNTER(32768, 0);
  for (i = 0; i < centroids; ++i) {
    if (i == 0) {
      ordered = take_plain(&a->mixing, width);
    } else {
      uint64_t step = 1;
      size = take_size(&a->mixing, counters, (2 * last + before + 1) / 3, 2 * (int32_t)width + 1);
      if (size == 0) return DCZ_ERROR_PAYLOAD;
      before = last;
      last = size;
      if (size >= 4) {
        const uint32_t low = (uint32_t)size / 2 - 2;
        step = (2u | ((uint64_t)size & 1)) << low | take_plain(&a->mixing, low);
      }
      if (step > largest - ordered) return DCZ_ERROR_PAYLOAD;
      ordered += step;
    }
    ++a->kinds[ordered > largest / 2];
    dcz_elements_centroid(a->elements, i, ordered);
  }
  return a->mixing.input.error;
}
