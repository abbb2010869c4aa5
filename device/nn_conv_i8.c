/* Convolutions of int8 activations. */
#include "nn_conv.h"

typedef struct {
  const dcz_matrix_i8 *matrix;
  const int8_t *x;
  int8_t *y;
} dcz_job_i8;

DCZ_APART static int32_t dcz_sum_inside(const dcz_run *run, const int8_t *x, int32_t sum) {
  for (const dcz_survivor *entry = run->entries; entry != run->end; ++entry)
    sum += entry->code * x[entry->offset];
  return sum;
}

DCZ_APART static int32_t dcz_sum_border(const dcz_run *run, const int8_t *x, uint32_t in,
                                        uint32_t ix, int32_t sum) {
  for (const dcz_survivor *entry = run->entries; entry != run->end; ++entry)
    if (dcz_within(run->window, entry, run->iy, ix)) sum += entry->code * x[in + entry->offset];
  return sum;
}

/* Four pixels at neighbouring windows share the loads of an entry. */
DCZ_APART static void dcz_sum_four(const dcz_run *run, const int8_t *x, int32_t bias,
                                   int32_t sums[4]) {
  int32_t sum0 = bias, sum1 = bias, sum2 = bias, sum3 = bias;
  for (const dcz_survivor *entry = run->entries, *end = run->end; entry != end; ++entry) {
    const int8_t *at = x + entry->offset;
    const int32_t weight = entry->code;
    sum0 += weight * at[0];
    sum1 += weight * at[1];
    sum2 += weight * at[2];
    sum3 += weight * at[3];
  }
  sums[0] = sum0;
  sums[1] = sum1;
  sums[2] = sum2;
  sums[3] = sum3;
}

static void dcz_compute_i8(const void *given, const dcz_run *run) {
  const dcz_job_i8 *job = (const dcz_job_i8 *)given;
  const dcz_requantize *to = &job->matrix->to;
  const uint32_t stride = run->window->stride_x;
  const int32_t bias = job->matrix->bias ? job->matrix->bias[run->filter] : 0;
  int8_t *y = job->y + run->out, *end = y + run->pixels;
  uint32_t in = run->in, ix = run->ix;
  for (uint32_t count = 1; y != end; in += count * stride, ix += count * stride) {
    int32_t sums[4];
    count = 1;
    if (!run->inside) {
      sums[0] = dcz_sum_border(run, job->x, in, ix, bias);
    } else if (stride != 1 || end - y < 4) {
      sums[0] = dcz_sum_inside(run, job->x + in, bias);
    } else {
      dcz_sum_four(run, job->x + in, bias, sums);
      count = 4;
    }
    for (uint32_t i = 0; i < count; ++i) *y++ = (int8_t)dcz_requantized(to, run->filter, sums[i]);
  }
}

dcz_error dcz_conv_i8(const dcz_window *window, const dcz_matrix_i8 *matrix,
                      const dcz_weights *weights, dcz_unpack unpack, const int8_t *x, int8_t *y,
                      void *work, uint32_t size) {
  const dcz_job_i8 job = {matrix, x, y};
  return dcz_walk(window, DCZ_I8, matrix->rows, matrix->cols, weights, unpack, dcz_compute_i8, &job,
                  work, size);
}
