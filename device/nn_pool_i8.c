/* Max and average pooling of int8 activations. */
#include "nn_pool.h"

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
