/* The walk of a convolution: filter by filter, in runs of pixels that lie inside of x or at its
 * border. */
#include "nn_conv.h"

/* The outputs along one axis whose taps all lie within x: those from `from` on, before `to`. */
typedef struct {
  uint32_t from, to;
} dcz_inside;

static dcz_inside dcz_find_inside(uint32_t outs, uint32_t stride, uint32_t pad, uint32_t reach,
                                  uint32_t length) {
  dcz_inside inside = {0, 0};
  uint32_t at = 0;
  for (; inside.from < outs && at < pad; at += stride) ++inside.from;
  for (inside.to = inside.from; inside.to < outs && at + reach < length + pad; at += stride)
    ++inside.to;
  return inside;
}

/* A convolution of single pixels, as one long row: its runs are longer. */
static int dcz_flatten(const dcz_window *window, dcz_window *flat) {
  const uint32_t pixels = (uint32_t)window->height * window->width;
  if (window->kernel_height != 1 || window->kernel_width != 1 || window->stride_y != 1 ||
      window->stride_x != 1 || window->pad_top != 0 || window->pad_left != 0 ||
      window->out_height != window->height || window->out_width != window->width || pixels > 0xffff)
    return 0;
  *flat = *window;
  flat->height = flat->out_height = 1;
  flat->width = flat->out_width = (uint16_t)pixels;
  return 1;
}

dcz_error dcz_walk_filters(const dcz_window *window, uint8_t dtype, uint32_t filters, uint32_t cols,
                           const dcz_weights *weights, dcz_unpack unpack, dcz_compute compute,
                           const void *job, void *work, uint32_t size) {
  dcz_filter filter;
  dcz_window flat;
  if (dcz_flatten(window, &flat)) window = &flat;
  filter.work = (uint8_t *)work;
  filter.size = size;
  filter.dtype = dtype;
  const uint32_t reach_y = (window->kernel_height - 1u) * window->dilation_y;
  const uint32_t reach_x = (window->kernel_width - 1u) * window->dilation_x;
  const dcz_inside rows = dcz_find_inside(window->out_height, window->stride_y, window->pad_top,
                                          reach_y, window->height);
  const dcz_inside columns = dcz_find_inside(window->out_width, window->stride_x, window->pad_left,
                                             reach_x, window->width);
  const uint32_t group_size = (uint32_t)window->group_channels * window->height * window->width;
  dcz_run run;
  run.window = window;
  run.out = 0;
  uint32_t group_start = 0, of_group = 0;
  for (run.filter = 0; run.filter < filters; ++run.filter) {
    const dcz_error error = unpack(weights, window, filters, cols, run.filter, &filter);
    if (error != DCZ_OK) return error;
    run.entries = filter.entries;
    run.end = filter.entries + filter.count;
    run.values = filter.values;
    for (uint32_t y = 0; y < window->out_height; ++y) {
      run.iy = y * window->stride_y - window->pad_top;
      const uint32_t line = group_start + run.iy * window->width;
      const int inside = y >= rows.from && y < rows.to;
      for (uint32_t x = 0; x < window->out_width; x += run.pixels) {
        uint32_t until = window->out_width;
        run.inside = inside && x >= columns.from && x < columns.to;
        if (run.inside)
          until = columns.to;
        else if (inside && x < columns.from && columns.from < columns.to)
          until = columns.from;
        run.ix = x * window->stride_x - window->pad_left;
        run.in = line + run.ix;
        run.pixels = until - x;
        compute(job, &run);
        run.out += run.pixels;
      }
    }
    if (++of_group == window->group_filters) {
      of_group = 0;
      group_start += group_size;
    }
  }
  return DCZ_OK;
}
