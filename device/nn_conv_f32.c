/* Convolutions of float32 activations. */
#include "nn_conv.h"

typedef struct {
  const dcz_matrix_f32 *matrix;
  const float *x;
  float *y;
} dcz_job_f32;

static float dcz_limited(const dcz_matrix_f32 *matrix, float sum) {
  return sum < matrix->low ? matrix->low : sum > matrix->high ? matrix->high : sum;
}

static void dcz_compute_f32(const void *given, const dcz_run *run) {
  const dcz_job_f32 *job = (const dcz_job_f32 *)given;
  const dcz_window *window = run->window;
  const uint32_t stride = window->stride_x;
  const float bias = job->matrix->bias ? job->matrix->bias[run->filter] : 0.0f;
  float *y = job->y + run->out;
  uint32_t in = run->in, ix = run->ix, left = run->pixels;
  for (; run->inside && left >= 2; left -= 2) {
    const float *first = job->x + in;
    float sum0 = bias, sum1 = bias;
    for (const dcz_entry *entry = run->entries; entry != run->end; ++entry) {
      const float *at = first + entry->offset;
      const float weight = run->values[entry->code];
      sum0 += weight * at[0];
      sum1 += weight * at[stride];
    }
    *y++ = dcz_limited(job->matrix, sum0);
    *y++ = dcz_limited(job->matrix, sum1);
    in += 2 * stride;
  }
  for (; left != 0; --left, in += stride, ix += stride) {
    float sum = bias;
    for (const dcz_entry *entry = run->entries; entry != run->end; ++entry)
      if (run->inside || dcz_within(window, entry, run->iy, ix))
        sum += run->values[entry->code] * job->x[in + entry->offset];
    *y++ = dcz_limited(job->matrix, sum);
  }
}

dcz_error dcz_conv_f32(const dcz_window *window, const dcz_matrix_f32 *matrix,
                       const dcz_weights *weights, dcz_unpack unpack, const float *x, float *y,
                       void *work, uint32_t size) {
  const dcz_job_f32 job = {matrix, x, y};
  return dcz_walk(window, DCZ_F32, matrix->rows, matrix->cols, weights, unpack, dcz_compute_f32,
                  &job, work, size);
}
