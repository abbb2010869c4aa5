/* The walk over the windows of a pooling layer. */
#ifndef DCZ_NN_POOL_H
#define DCZ_NN_POOL_H

#include "nn.h"

/* The part of a window that lies within x, along one axis. */
typedef struct {
  uint32_t from, to;
} dcz_span;

static inline dcz_span dcz_overlap(uint32_t out, uint32_t stride, uint32_t pad, uint32_t kernel,
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

static inline void dcz_place_rows(dcz_windows *at) {
  const dcz_pool *pool = at->pool;
  at->rows =
      dcz_overlap(at->out_y, pool->stride_y, pool->pad_top, pool->kernel_height, pool->height);
}

static inline void dcz_place_columns(dcz_windows *at) {
  const dcz_pool *pool = at->pool;
  at->columns =
      dcz_overlap(at->out_x, pool->stride_x, pool->pad_left, pool->kernel_width, pool->width);
}

static inline void dcz_place_first(dcz_windows *at, const dcz_pool *pool) {
  at->pool = pool;
  at->channel = at->out_y = at->out_x = 0;
  dcz_place_rows(at);
  dcz_place_columns(at);
}

/* Moves to the next output; 0 behind the last one. */
static inline int dcz_next(dcz_windows *at) {
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

static inline uint32_t dcz_index(const dcz_windows *at, uint32_t row) {
  return (at->channel * at->pool->height + row) * at->pool->width;
}

static inline uint32_t dcz_count(const dcz_windows *at) {
  if (at->pool->count_padding) return (uint32_t)at->pool->kernel_height * at->pool->kernel_width;
  return (at->rows.to - at->rows.from) * (at->columns.to - at->columns.from);
}

#endif
