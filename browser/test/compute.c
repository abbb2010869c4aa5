/* The functions of compute.wasm on this machine, under sanitizers: every array has exactly the
 * length that the comments of browser/wasm allow. Ends with 1 at the first result that differs from
 * a plain loop in double. */
#include "compute.h"

#include <stdio.h>
#include <stdlib.h>

void dcz_web_pack_begin(uint32_t cols);
uint32_t dcz_web_pack_slice(const uint32_t *, uint32_t, uint16_t *, uint32_t *);
uint32_t dcz_web_pack_distinct(void);
void dcz_web_pack_sort(uint16_t *, uint32_t *);
void dcz_web_pack_measure(const uint16_t *, const uint32_t *, uint32_t, uint32_t, uint32_t,
                          uint32_t *);
void dcz_web_pack_row(const uint16_t *, const uint16_t *, uint32_t, uint32_t, uint32_t *, uint32_t);
void dcz_web_meanings(const dcz_matrix *, dcz_meaning *, uint32_t);
uint32_t dcz_web_reach(const dcz_matrix *);
void dcz_web_products(const dcz_matrix *, const float *, uint32_t, uint32_t, float *);
void dcz_web_side_by_side(const dcz_matrix *, const float *, uint32_t, uint32_t, float *);
void dcz_web_interleave(const float *, uint32_t, uint32_t, uint32_t, uint32_t, float *);
void dcz_web_tiles(const dcz_matrix *, uint32_t, uint32_t, const uint32_t *, const uint8_t *,
                   uint32_t, float *, uint32_t, int, void *);

static uint32_t state = 17;

static uint32_t next(void) {
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}

static void *give(size_t bytes) {
  void *memory = malloc(bytes ? bytes : 1);
  if (!memory) abort();
  return memory;
}

static void check(const char *what, float found, double expected) {
  const double difference = found - expected;
  if (difference < 1e-4 && difference > -1e-4) return;
  printf("%s gives %g, expected %g\n", what, (double)found, expected);
  exit(1);
}

/* Column by column: weight, times number i of vector v. */
static double expect(const dcz_matrix *m, const float *dense, uint32_t row, const float *x,
                     uint32_t pitch) {
  double sum = m->bias[row];
  for (uint32_t column = 0; column < m->cols; ++column)
    sum += (double)dense[row * m->cols + column] * (double)x[column * pitch];
  return sum;
}

static void check_products(const dcz_matrix *m, const float *dense) {
  const uint32_t reach = dcz_web_reach(m), count = 1 + next() % 5;
  /* a number before x may be addressed, not read */
  float *memory = give(4 * (1 + reach * count)), *x = memory + 1, *y = give(4 * m->rows * count);
  for (uint32_t i = 0; i < reach * count; ++i)
    x[i] = i % reach < m->cols ? (float)(next() % 200) / 100 - 1 : 0;
  dcz_web_products(m, x, count, reach, y);
  for (uint32_t v = 0; v < count; ++v)
    for (uint32_t row = 0; row < m->rows; ++row)
      check("a product", y[v * m->rows + row], expect(m, dense, row, x + v * reach, 1));
  free(memory);
  free(y);
}

static void check_side_by_side(const dcz_matrix *m, const float *dense, uint32_t width) {
  const uint32_t reach = dcz_web_reach(m), count = 1 + next() % width;
  float *x = give(4 * m->cols * count), *y = give(4 * m->rows * count);
  float *memory = give(4 * width * (1 + reach)), *columns = memory + width;
  for (uint32_t i = 0; i < m->cols * count; ++i) x[i] = (float)(next() % 200) / 100 - 1;
  dcz_web_interleave(x, count, m->cols, width, reach, columns);
  dcz_web_side_by_side(m, columns, width, count, y);
  for (uint32_t v = 0; v < count; ++v)
    for (uint32_t row = 0; row < m->rows; ++row)
      check("a product side by side", y[v * m->rows + row],
            expect(m, dense, row, x + v * m->cols, 1));
  free(x);
  free(y);
  free(memory);
}

static void check_tiles(const dcz_matrix *m, const float *dense, int as_dense) {
  const uint32_t places = 1 + next() % 40, pitch = (places + 7) / 8 * 8;
  float *x = give(4 * m->cols * pitch), *y = give(4 * m->rows * pitch);
  uint32_t *offsets = give(4 * m->cols);
  void *scratch = give(16 * (m->cols + 1));
  for (uint32_t i = 0; i < m->cols * pitch; ++i) x[i] = (float)(next() % 200) / 100 - 1;
  for (uint32_t i = 0; i < m->cols; ++i) offsets[i] = 4 * i * pitch;
  dcz_web_tiles(m, 0, m->rows, offsets, (const uint8_t *)x, places, y, pitch, as_dense, scratch);
  for (uint32_t row = 0; row < m->rows; ++row)
    for (uint32_t i = 0; i < places; ++i)
      check("a tile", y[row * pitch + i], expect(m, dense, row, x + i, pitch));
  free(x);
  free(y);
  free(offsets);
  free(scratch);
}

/* All weights in pieces of some length, then the words of one choice of entries, rows in turned
 * order. */
static void check_matrix(uint32_t rows, uint32_t cols, uint32_t density, uint32_t distinct,
                         uint32_t per_word) {
  const uint32_t weights = rows * cols, piece = 1 + next() % 500;
  float *dense = give(4 * weights), *bias = give(4 * rows), codebook[256];
  for (uint32_t i = 0; i < weights; ++i)
    dense[i] = next() % 100 < density ? (float)(1 + next() % distinct) / 64 - 0.51f : 0.0f;
  for (uint32_t i = 0; i < rows; ++i) bias[i] = (float)i / 8;
  uint16_t *pairs = give(2 * (weights + 1));
  uint32_t *starts = give(4 * (rows + 1)), *words_of = give(4 * rows), count = 0;
  dcz_web_pack_begin(cols);
  for (uint32_t at = 0; at < weights; at += piece) {
    const uint32_t some = weights - at < piece ? weights - at : piece;
    uint32_t *bits = give(4 * some);
    memcpy(bits, dense + at, 4 * some);
    count += dcz_web_pack_slice(bits, some, pairs + count, starts);
    free(bits);
  }
  starts[rows] = count;
  dcz_web_pack_sort(pairs, (uint32_t *)(void *)codebook);
  const uint32_t codes = dcz_web_pack_distinct();
  uint32_t code_bits = 1;
  while (1u << code_bits < codes) ++code_bits;
  if (32 / per_word > code_bits) {
    const uint32_t skip_bits = 32 / per_word - code_bits, blocks = (rows + 31) / 32;
    uint32_t *block_starts = give(4 * (blocks + 1)), *order = give(4 * rows),
             *stored = give(4 * rows);
    dcz_web_pack_measure(pairs, starts, rows, per_word, skip_bits, words_of);
    for (uint32_t i = 0; i < rows; ++i) order[i] = rows - 1 - i, stored[rows - 1 - i] = i;
    block_starts[0] = 0;
    for (uint32_t block = 0; block < blocks; ++block) {
      uint32_t most = 0;
      for (uint32_t i = 32 * block; i < rows && i < 32 * block + 32; ++i)
        if (words_of[order[i]] > most) most = words_of[order[i]];
      block_starts[block + 1] = block_starts[block] + 32 * most;
    }
    uint32_t *words = give(4 * block_starts[blocks]);
    for (uint32_t i = 0; i < 32 * blocks; ++i) {
      const uint32_t from = block_starts[i / 32], row = i < rows ? order[i] : rows;
      const uint16_t *begin = pairs + starts[row],
                     *end = pairs + starts[row < rows ? row + 1 : rows];
      dcz_web_pack_row(begin, end, per_word, skip_bits, words + from + i % 32,
                       (block_starts[i / 32 + 1] - from) / 32);
    }
    dcz_matrix m = {rows,  cols,   per_word, skip_bits, words, block_starts,
                    order, stored, 0,        0,         0,     bias};
    float *own = give(4 * (codes ? codes : 1));
    own[0] = 0.0f;
    memcpy(own, codebook, 4 * codes);
    m.codebook = own;
    dcz_meaning *table = 0;
    if (per_word != 2) {
      table = give(sizeof(dcz_meaning) << 32 / per_word);
      dcz_web_meanings(&m, table, codes);
      m.table = table;
    }
    check_products(&m, dense);
    for (uint32_t width = 4; width <= 16; width *= 2) check_side_by_side(&m, dense, width);
    check_tiles(&m, dense, 0);
    check_tiles(&m, dense, 1);
    dcz_matrix plain = {rows, cols, 0, 0, 0, 0, 0, 0, 0, 0, dense, bias};
    check_products(&plain, dense);
    check_tiles(&plain, dense, 1);
    free(words), free(block_starts), free(order), free(stored), free(own), free(table);
  }
  free(dense), free(bias), free(pairs), free(starts), free(words_of);
}

int main(void) {
  static const uint32_t shapes[][2] = {{1, 1}, {1, 300}, {33, 7}, {5, 1}, {40, 130}, {64, 70}};
  static const uint32_t entries[] = {2, 3, 4, 5, 6, 8, 10, 16};
  static const uint32_t densities[] = {0, 2, 20, 100};
  static const uint32_t centroids[] = {1, 3, 16, 60};
  for (uint32_t s = 0; s < 6; ++s)
    for (uint32_t d = 0; d < 4; ++d)
      for (uint32_t c = 0; c < 4; ++c)
        for (uint32_t e = 0; e < 8; ++e)
          check_matrix(shapes[s][0], shapes[s][1], densities[d], centroids[c], entries[e]);
  return 0;
}
