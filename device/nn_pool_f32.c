/* Max and average pooling of float32 activations. */
#include "nn_pool.h"

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
