/* Convolutions of int8 activations. */
#include "nn_conv.h"

typedef struct {
  const dcz_matrix_i8 *matrix;
  const int8_t *x;
  int8_t *y;
} dcz_job_i8;

/* Pixels that share the loads of an entry. */
#define DCZ_PIXELS 4

static void dcz_compute_i8(const void *given, const dcz_run *run) {
  const dcz_job_i8 *job = (const dcz_job_i8 *)given;
  const dcz_requantize *to = &job->matrix->to;
  const dcz_window *window = run->window;
  const uint32_t stride = window->stride_x;
  const int32_t bias = job->matrix->bias ? job->matrix->bias[run->filter] : 0;
  int8_t *y = job->y + run->out;
  uint32_t in = run->in, ix = run->ix, left = run->pixels;
  for (; run->inside && left >= DCZ_PIXELS; left -= DCZ_PIXELS) {
    const int8_t *first = job->x + in;
    int32_t sum0 = bias, sum1 = bias, sum2 = bias, sum3 = bias;
    for (const dcz_entry *entry = run->entries; entry != run->end; ++entry) {
      const int8_t *at = first + entry->offset;
      const int32_t weight = entry->code;
      sum0 += weight * *at;
      at += stride;
      sum1 += weight * *at;
      at += stride;
      sum2 += weight * *at;
      at += stride;
      sum3 += weight * *at;
    }
    y[0] = (int8_t)dcz_requantized(to, run->filter, sum0);
    y[1] = (int8_t)dcz_requantized(to, run->filter, sum1);
    y[2] = (int8_t)dcz_requantized(to, run->filter, sum2);
    y[3] = (int8_t)dcz_requantized(to, run->filter, sum3);
    y += DCZ_PIXELS;
    in += DCZ_PIXELS * stride;
  }
  for (; left != 0; --left, in += stride, ix += stride) {
    int32_t sum = bias;
    for (const dcz_entry *entry = run->entries; entry != run->end; ++entry)
      if (run->inside || dcz_within(window, entry, run->iy, ix))
        sum += entry->code * job->x[in + entry->offset];
    *y++ = (int8_t)dcz_requantized(to, run->filter, sum);
  }
}

dcz_error dcz_conv_i8(const dcz_window *window, const dcz_matrix_i8 *matrix,
                      const dcz_weights *weights, dcz_unpack unpack, const int8_t *x, int8_t *y,
                      void *work, uint32_t size) {
  const dcz_job_i8 job = {matrix, x, y};
  return dcz_walk(window, DCZ_I8, matrix->rows, matrix->cols, weights, unpack, dcz_compute_i8, &job,
                  work, size);
}
