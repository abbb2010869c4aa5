/* Max and average pooling, int8 and float32. */
#include "nn.h"

/* The part of a window that lies within x, along one axis. */
typedef struct {
  uint32_t from, to;
} dcz_span;

static dcz_span dcz_within(uint32_t out, uint32_t stride, uint32_t pad, uint32_t kernel,
                           uint32_t length) {
  const uint32_t begin = out * stride, end = begin + kernel;
  dcz_span span = {begin > pad ? begin - pad : 0, end > pad ? end - pad : 0};
  if (span.to > length) span.to = length;
  return span;
}

/* The window of one output. */
typedef struct {
  const dcz_pool *pool;
  uint32_t channel, out_y, out_x;
  dcz_span rows, columns;
} dcz_windows;

static void dcz_place_rows(dcz_windows *at) {
  const dcz_pool *pool = at->pool;
  at->rows =
      dcz_within(at->out_y, pool->stride_y, pool->pad_top, pool->kernel_height, pool->height);
}

static void dcz_place_columns(dcz_windows *at) {
  const dcz_pool *pool = at->pool;
  at->columns =
      dcz_within(at->out_x, pool->stride_x, pool->pad_left, pool->kernel_width, pool->width);
}

static void dcz_place_first(dcz_windows *at, const dcz_pool *pool) {
  at->pool = pool;
  at->channel = at->out_y = at->out_x = 0;
  dcz_place_rows(at);
  dcz_place_columns(at);
}

/* Moves to the next output; 0 behind the last one. */
static int dcz_next(dcz_windows *at) {
  const dcz_pool *pool = at->pool;
  if (++at->out_x == pool->out_width) {
    at->out_x = 0;
    if (++at->out_y == pool->out_height) {
      at->out_y = 0;
      if (++at->channel == pool->channels) return 0;
    }
    dcz_place_rows(at);
  }
  dcz_place_columns(at);
  return 1;
}

static uint32_t dcz_index(const dcz_windows *at, uint32_t row) {
  return (at->channel * at->pool->height + row) * at->pool->width;
}

static uint32_t dcz_count(const dcz_windows *at) {
  if (at->pool->count_padding) return (uint32_t)at->pool->kernel_height * at->pool->kernel_width;
  return (at->rows.to - at->rows.from) * (at->columns.to - at->columns.from);
}

void dcz_max_pool_i8(const dcz_pool *pool, const int8_t *x, int8_t *y) {
  dcz_windows at;
  dcz_place_first(&at, pool);
  do {
    int32_t most = -128;
    for (uint32_t row = at.rows.from; row < at.rows.to; ++row) {
      const int8_t *line = x + dcz_index(&at, row);
      for (uint32_t column = at.columns.from; column < at.columns.to; ++column)
        if (line[column] > most) most = line[column];
    }
    *y++ = (int8_t)most;
  } while (dcz_next(&at));
}

void dcz_max_pool_f32(const dcz_pool *pool, const float *x, float *y) {
  dcz_windows at;
  dcz_place_first(&at, pool);
  do {
    float most = x[dcz_index(&at, at.rows.from) + at.columns.from];
    for (uint32_t row = at.rows.from; row < at.rows.to; ++row) {
      const float *line = x + dcz_index(&at, row);
      for (uint32_t column = at.columns.from; column < at.columns.to; ++column)
        if (line[column] > most) most = line[column];
    }
    *y++ = most;
  } while (dcz_next(&at));
}

void dcz_average_pool_i8(const dcz_pool *pool, const dcz_requantize *to, const int8_t *x,
                         int8_t *y) {
  dcz_windows at;
  dcz_place_first(&at, pool);
  do {
    int32_t sum = 0;
    for (uint32_t row = at.rows.from; row < at.rows.to; ++row) {
      const int8_t *line = x + dcz_index(&at, row);
      for (uint32_t column = at.columns.from; column < at.columns.to; ++column) sum += line[column];
    }
    *y++ = (int8_t)dcz_requantized(to, dcz_count(&at) - 1, sum);
  } while (dcz_next(&at));
}

void dcz_average_pool_f32(const dcz_pool *pool, const float *x, float *y) {
  dcz_windows at;
  dcz_place_first(&at, pool);
  do {
    float sum = 0.0f;
    for (uint32_t row = at.rows.from; row < at.rows.to; ++row) {
      const float *line = x + dcz_index(&at, row);
      for (uint32_t column = at.columns.from; column < at.columns.to; ++column) sum += line[column];
    }
    *y++ = sum * (1.0f / (float)dcz_count(&at));
  } while (dcz_next(&at));
}
