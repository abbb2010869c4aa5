/* What the convolutions of both types share: taps of a window, and the walk over runs of output
 * pixels. */
#ifndef DCZ_NN_CONV_H
#define DCZ_NN_CONV_H

#include "nn.h"

/* For loops that need all registers: the compiler must not move them into others. */
#ifdef __GNUC__
#define DCZ_APART __attribute__((noinline))
#else
#define DCZ_APART
#endif

/* A column of the matrix, as channel and place in the kernel. */
typedef struct {
  uint32_t channel, ky, kx;
} dcz_tap;

static inline void dcz_advance(dcz_tap *tap, const dcz_window *window, uint32_t columns) {
  for (tap->kx += columns; tap->kx >= window->kernel_width;) {
    tap->kx -= window->kernel_width;
    if (++tap->ky == window->kernel_height) {
      tap->ky = 0;
      ++tap->channel;
    }
  }
}

static inline dcz_error dcz_add_entry(dcz_filter *filter, const dcz_window *window,
                                      const dcz_tap *tap, int16_t code) {
  if (tap->channel >= window->group_channels) return DCZ_ERROR_RANGE;
  if (filter->count == filter->room) return DCZ_ERROR_WORK;
  dcz_survivor *entry = &filter->entries[filter->count++];
  const uint32_t down = tap->ky * window->dilation_y, across = tap->kx * window->dilation_x;
  entry->offset = (tap->channel * window->height + down) * window->width + across;
  entry->ky = (uint8_t)down;
  entry->kx = (uint8_t)across;
  entry->code = code;
  return DCZ_OK;
}

/* Neighbouring output pixels of one filter. */
typedef struct {
  const dcz_window *window;
  const dcz_survivor *entries, *end;
  const float *values;
  uint32_t filter;
  uint32_t in; /* index in x of the first pixel's window; modulo 2^32 if it begins outside of x */
  uint32_t iy, ix; /* row and column of that window's first tap; modulo 2^32 */
  uint32_t out;    /* index in y of the first pixel */
  uint32_t pixels;
  int inside; /* all taps of all pixels lie within x */
} dcz_run;

/* Unpacks each filter and calls `compute` for runs that cover its pixels. */
typedef void (*dcz_compute)(const void *job, const dcz_run *run);
dcz_error dcz_walk(const dcz_window *window, uint8_t dtype, uint32_t filters, uint32_t cols,
                   const dcz_weights *weights, dcz_unpack unpack, dcz_compute compute,
                   const void *job, void *work, uint32_t size);

/* Whether a tap of an entry lies within x, for a window at (iy, ix). */
static inline int dcz_within(const dcz_window *window, const dcz_survivor *entry, uint32_t iy,
                             uint32_t ix) {
  return (uint32_t)(iy + entry->ky) < window->height && (uint32_t)(ix + entry->kx) < window->width;
}

#endif
