/* Layers without weights: pools, activations, softmax. NaNs spread, as in torch. */
#include "compute.h"
#include "nn.h"

/* The windows of a pool along one axis. */
typedef struct {
  uint32_t in, out, kernel, stride, pad;
} dcz_pool_axis;

/* JavaScript writes it, word by word. */
typedef struct {
  uint32_t channels; /* of all images */
  dcz_pool_axis height, width;
  uint32_t count_padding;
} dcz_pools;

/* The part of a window within the image, and the elements that a mean counts: the padding, too, if
 * asked. */
typedef struct {
  uint32_t from, to, counted;
} dcz_part;

static dcz_part dcz_part_of(const dcz_pool_axis *axis, uint32_t out, uint32_t count_padding) {
  const uint32_t begin = out * axis->stride, end = begin + axis->kernel;
  const uint32_t behind = axis->in + axis->pad;
  dcz_part part;
  part.from = begin > axis->pad ? begin - axis->pad : 0;
  part.to = (end < behind ? end : behind) - axis->pad;
  part.counted = part.to - part.from;
  if (count_padding) part.counted = (end < behind + axis->pad ? end : behind + axis->pad) - begin;
  return part;
}

static float dcz_most(const float *x, uint32_t pitch, dcz_part rows, dcz_part columns) {
  float most = x[rows.from * pitch + columns.from];
  for (uint32_t row = rows.from; row < rows.to; ++row)
    for (uint32_t column = columns.from; column < columns.to; ++column) {
      const float value = x[row * pitch + column];
      if (!(value <= most)) most = most != most ? most : value;
    }
  return most;
}

static float dcz_mean_of(const float *x, uint32_t pitch, dcz_part rows, dcz_part columns) {
  float sum = 0.0f;
  for (uint32_t row = rows.from; row < rows.to; ++row)
    for (uint32_t column = columns.from; column < columns.to; ++column)
      sum += x[row * pitch + column];
  return sum / (float)(rows.counted * columns.counted);
}

/* The largest element, or the mean, of each window. */
void DCZ_EXPORT(pool)(const dcz_pools *pool, int average, const float *x, float *y) {
  const dcz_pool_axis *h = &pool->height, *w = &pool->width;
  for (uint32_t channel = 0; channel < pool->channels; ++channel, x += h->in * w->in)
    for (uint32_t row = 0; row < h->out; ++row) {
      const dcz_part rows = dcz_part_of(h, row, pool->count_padding);
      for (uint32_t column = 0; column < w->out; ++column) {
        const dcz_part columns = dcz_part_of(w, column, pool->count_padding);
        *y++ = average ? dcz_mean_of(x, w->in, rows, columns) : dcz_most(x, w->in, rows, columns);
      }
    }
}

static dcz_part dcz_share(uint32_t at, uint32_t in, uint32_t out) {
  dcz_part part;
  part.from = (uint32_t)((uint64_t)at * in / out);
  part.to = (uint32_t)(((uint64_t)(at + 1) * in + out - 1) / out);
  part.counted = part.to - part.from;
  return part;
}

/* Means of out_height x out_width nearly equal parts. */
void DCZ_EXPORT(adaptive_pool)(uint32_t channels, uint32_t height, uint32_t width,
                               uint32_t out_height, uint32_t out_width, const float *x, float *y) {
  for (uint32_t channel = 0; channel < channels; ++channel, x += height * width)
    for (uint32_t row = 0; row < out_height; ++row)
      for (uint32_t column = 0; column < out_width; ++column)
        *y++ = dcz_mean_of(x, width, dcz_share(row, height, out_height),
                           dcz_share(column, width, out_width));
}

void DCZ_EXPORT(relu)(const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = x[i] < 0.0f ? 0.0f : x[i];
}

void DCZ_EXPORT(leaky_relu)(float slope, const float *x, float *y, uint32_t n) {
  dcz_leaky_f32(slope, x, y, n);
}

void DCZ_EXPORT(sigmoid)(const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = x[i] == x[i] ? dcz_sigmoid(x[i]) : x[i];
}

void DCZ_EXPORT(tanh)(const float *x, float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) y[i] = x[i] == x[i] ? dcz_tanh(x[i]) : x[i];
}

void DCZ_EXPORT(scale)(const float *factor, const float *term, const float *x, float *y,
                       uint32_t channels, uint32_t plane) {
  dcz_scale_f32(factor, term, x, y, channels, plane);
}

/* Along the middle axis of (outer, n, inner). */
void DCZ_EXPORT(softmax)(const float *x, float *y, uint32_t outer, uint32_t n, uint32_t inner) {
  for (uint32_t i = 0; i < outer; ++i, x += n * inner, y += n * inner)
    for (uint32_t j = 0; j < inner; ++j) {
      float most = x[j], total = 0.0f;
      for (uint32_t at = j; at < n * inner; at += inner)
        if (!(x[at] <= most)) most = most != most ? most : x[at];
      for (uint32_t at = j; at < n * inner; at += inner) {
        const float less = x[at] - most;
        y[at] = less == less ? dcz_exp(less) : less;
        total += y[at];
      }
      for (uint32_t at = j; at < n * inner; at += inner) y[at] /= total;
    }
}
