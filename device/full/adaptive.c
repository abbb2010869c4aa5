/* Centroids, survival, signs and magnitudes by adaptive probabilities. docs/format.md, "Adaptive".
 */
#include "adaptive.h"

enum {
  LEVELS = 14,
  SIGNED_LEVELS = 2 * LEVELS - 1,
  TREE = 32,
  DEEP = 256,
  TREE_BITS = 5,
  LAST_LEVEL = 192
};

#define MOST_ROW 65536u
#define MOST_KERNEL 64u
#define FIRST_SIZE (24 * 16)

static const uint16_t slow[DCZ_MIXER_INPUTS] = {DCZ_COUNT_LIMIT, DCZ_COUNT_LIMIT, DCZ_COUNT_LIMIT,
                                                DCZ_COUNT_LIMIT, DCZ_COUNT_LIMIT, DCZ_COUNT_LIMIT};

/* "The number of the thresholds that v reaches"; the last one is 192. */
static void begin_levels(uint8_t *levels) {
  static const uint8_t from[LEVELS] = {1, 3, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 255};
  uint32_t i, found = 0;
  for (i = 0; i <= LAST_LEVEL; ++i) {
    if (i >= from[found]) ++found;
    levels[i] = (uint8_t)found;
  }
}

static uint32_t level(const dcz_adaptive *a, int32_t size) {
  return a->levels[size < LAST_LEVEL ? size : LAST_LEVEL];
}

static uint32_t signed_level(const dcz_adaptive *a, int32_t size) {
  const uint32_t found = level(a, size < 0 ? -size : size);
  return size < 0 ? LEVELS - 1 - found : LEVELS - 1 + found;
}

static uint32_t three(int32_t size) { return (uint32_t)((size > 0) - (size < 0) + 1); }

static uint32_t five(int32_t size) {
  return (uint32_t)((size >= -24) + (size >= 0) + (size > 0) + (size > 24));
}

static int32_t magnitude_of(int32_t size) { return size < 0 ? -size : size; }

/* Neighbours' signed sizes. */
typedef struct {
  int32_t west, west2, north, north2, northwest, pull;
} around;

static around look(const dcz_adaptive *a) {
  const int8_t *const here = a->here + 2 + a->in_row, *const above = a->above + 2 + a->in_row;
  around found = {0, 0, 0, 0, 0, 0};
  if (a->kernel == 1) {
    found.west = here[-1];
    found.west2 = here[-2];
    found.north = above[0];
    found.northwest = above[-1];
  } else {
    if (a->in_line > 0) found.west = here[-1];
    if (a->in_line > 1) found.west2 = here[-2];
    if (a->line == a->kernel) {
      found.north = above[0];
      found.northwest = above[-1];
    } else if (a->in_kernel >= a->line) {
      const int32_t line = (int32_t)a->line;
      found.north = here[-line];
      if (a->in_kernel >= 2 * a->line) found.north2 = here[-2 * line];
      if (a->in_line > 0) found.northwest = here[-line - 1];
    }
  }
  found.pull = found.west + found.north - (found.northwest >> 1);
  return found;
}

static uint32_t take_survival(dcz_adaptive *a, const around *at) {
  static const uint16_t limits[5] = {255, 127, DCZ_COUNT_LIMIT, DCZ_COUNT_LIMIT, DCZ_COUNT_LIMIT};
  const int matrix = a->kernel == 1;
  uint32_t seen, history, bit;
  if (!matrix && a->in_kernel == 0) a->recent = 0;
  seen = matrix || a->in_kernel > 8 ? 8 : a->in_kernel;
  history = UINT32_C(1) << seen | (a->history & ((UINT32_C(1) << seen) - 1));
  if (a->full) {
    bit = dcz_mixing_alone(&a->mixing, a->by_history + history, DCZ_COUNT_LIMIT);
  } else {
    const uint32_t count =
        matrix ? 32 * a->recent + (a->row_survival >> 27) : 64 * a->in_kernel + a->recent;
    const uint32_t sizes = LEVELS * level(a, magnitude_of(at->west) + magnitude_of(at->west2) / 2) +
                           level(a, magnitude_of(at->north) + magnitude_of(at->northwest) / 2);
    const uint32_t context = matrix ? (at->west != 0) + 2u * (at->north != 0) : a->in_kernel;
    dcz_counter *counters[5];
    counters[0] = &a->row_survival;
    counters[1] = &a->columns[a->in_row].survival;
    counters[2] = a->by_history + history;
    counters[3] = a->by_count + count;
    counters[4] = a->by_sizes + sizes;
    bit = dcz_mixing_bit_of(&a->mixing, a->survival_sets + 6 * context, -20, 5, counters, limits);
  }
  a->recent += bit;
  if (matrix) a->recent -= a->history >> 31;
  a->history = a->history << 1 | bit;
  return bit;
}

static uint32_t take_sign(dcz_adaptive *a, const around *at) {
  dcz_adaptive_column *const column = a->columns + a->in_row;
  dcz_counter *counters[6];
  uint32_t bit;
  counters[0] = a->by_strengths + five(at->west) + 5 * five(at->north) + 25 * five(at->west2) +
                125 * three(at->northwest);
  counters[1] = &column->positive;
  counters[2] = &a->row_positive;
  counters[3] =
      a->by_pulls + SIGNED_LEVELS * signed_level(a, at->pull) + signed_level(a, column->pull >> 2);
  if (a->kernel == 1) {
    counters[4] = a->by_signs + (column->signs & 63);
    bit = dcz_mixing_bit_of(&a->mixing, a->sign_sets, 8, 5, counters, slow);
    column->signs = (uint8_t)((uint32_t)column->signs << 1 | bit);
    return bit;
  }
  counters[4] = a->by_signs + 243 * (a->in_kernel < 9 ? a->in_kernel : 9) + three(at->west) +
                3 * three(at->north) + 9 * three(at->west2) + 27 * three(at->north2) +
                81 * three(at->northwest);
  counters[5] = a->by_slopes + SIGNED_LEVELS * signed_level(a, 2 * at->west - at->west2) +
                signed_level(a, 2 * at->north - at->north2);
  return dcz_mixing_bit_of(&a->mixing, a->sign_sets + 7 * a->in_kernel, 8, 6, counters, slow);
}

/* The counters of a kind in a context: node n, from 1 on, is number n. */
static dcz_counter *tree_of(dcz_counter *trees, uint32_t context, uint32_t kind) {
  return trees + (2 * context + kind) * TREE;
}

static uint32_t take_magnitude(dcz_adaptive *a, const around *at, uint32_t kind) {
  const uint32_t place = a->kernel == 1 ? a->in_row : a->in_row / a->kernel;
  const uint32_t mean = (uint32_t)(a->row_size + a->kernel_size[place]) >> 7;
  dcz_counter *const by_place = tree_of(a->by_place, a->in_kernel, kind);
  dcz_counter *const by_mean = tree_of(a->by_mean, mean < LEVELS - 1 ? mean : LEVELS - 1, kind);
  dcz_counter *const by_pull =
      tree_of(a->by_pull, signed_level(a, kind ? at->pull : -at->pull), kind);
  dcz_counter *const deep = a->deep + kind * DEEP;
  /* an almost full tensor spends more on codes, and low bits gain least */
  const uint32_t bits = a->bits[kind], mixed = a->dense ? 2 : TREE_BITS;
  uint32_t node = 1, depth;
  for (depth = 0; depth < bits; ++depth) {
    uint32_t bit;
    if (depth < mixed) {
      dcz_counter *counters[3];
      counters[0] = by_place + node;
      counters[1] = by_mean + node;
      counters[2] = by_pull + node;
      bit = dcz_mixing_bit_of(&a->mixing, a->magnitude_sets + 4 * depth, 8, 3, counters, slow);
    } else {
      dcz_counter *const counter = depth < TREE_BITS && a->kernel > 1 ? by_pull : deep;
      bit = dcz_mixing_alone(&a->mixing, counter + node, DCZ_COUNT_LIMIT);
    }
    node = 2 * node + bit;
  }
  return node - (UINT32_C(1) << bits);
}

/* Learns from a survivor. */
static void learn(dcz_adaptive *a, int32_t size, int32_t signed_size) {
  const uint32_t place = a->kernel == 1 ? a->in_row : a->in_row / a->kernel;
  int16_t *const kernel_size = a->kernel_size + place, *const pull = &a->columns[a->in_row].pull;
  a->row_size += (16 * size - a->row_size) >> 5;
  a->all_size += (16 * size - a->all_size) >> 7;
  *kernel_size = (int16_t)(*kernel_size + ((16 * size - *kernel_size) >> 4));
  *pull = (int16_t)(*pull + ((16 * signed_size - *pull) >> 3));
}

/* The code of a survivor. */
static uint32_t take_code(dcz_adaptive *a, const around *at) {
  uint32_t kind = a->kinds[1] > 0, magnitude;
  int32_t size, signed_size;
  if (a->kinds[0] > 0 && a->kinds[1] > 0) kind = take_sign(a, at);
  magnitude = take_magnitude(a, at, kind);
  if (magnitude >= a->kinds[kind]) {
    a->error = DCZ_ERROR_PAYLOAD;
    return 0;
  }
  size = (int32_t)((magnitude + 1) * 127 >> a->bits[kind]);
  if (size < 1) size = 1;
  signed_size = kind ? size : -size;
  learn(a, size, signed_size);
  a->here[2 + a->in_row] = (int8_t)signed_size;
  return kind ? a->kinds[0] + magnitude : a->kinds[0] - 1 - magnitude;
}

static void begin_row(dcz_adaptive *a) {
  int8_t *const above = a->here;
  a->here = a->above;
  a->above = above;
  memset(a->here, 0, a->row + 2);
  a->row_survival = DCZ_COUNTER(a->density, 6);
  a->row_positive = DCZ_COUNTER(32768, 2);
  a->history = a->recent = 0;
  a->row_size = a->all_size;
  a->in_row = a->in_kernel = a->in_line = 0;
}

uint32_t dcz_adaptive_next(dcz_adaptive *a) {
  uint32_t found = 0;
  around at;
  if (a->error != DCZ_OK) return 0;
  if (a->in_row == a->row) begin_row(a);
  at = look(a);
  if (take_survival(a, &at)) {
    if (a->survivors == 0) a->error = DCZ_ERROR_PAYLOAD;
    --a->survivors;
    if (a->error == DCZ_OK && a->elements->centroids == 0) {
      a->here[2 + a->in_row] = 64;
      found = 1;
    } else if (a->error == DCZ_OK) {
      found = take_code(a, &at) + 1;
    }
  }
  ++a->in_row;
  if (a->kernel > 1) {
    if (++a->in_line == a->line) a->in_line = 0;
    if (++a->in_kernel == a->kernel) a->in_kernel = 0;
  }
  --a->elements_left;
  return found;
}

dcz_error dcz_adaptive_end(dcz_adaptive *a) {
  if (a->error == DCZ_OK && a->survivors != 0) a->error = DCZ_ERROR_PAYLOAD;
  if (a->error == DCZ_OK) a->error = dcz_mixing_end(&a->mixing);
  return a->error;
}

/* "The lowest bits, the highest of these first." */
static uint64_t take_plain(dcz_mixing *mixing, uint32_t count) {
  uint64_t found = 0;
  while (count-- > 0) found = found << 1 | dcz_mixing_bit(mixing, 32768);
  return found;
}

/* The size of a step: 0 if it is impossible. */
static int32_t take_size(dcz_mixing *mixing, dcz_counter counters[18], int32_t expected,
                         int32_t most) {
  int32_t off = 0, distance = 1, up;
  if (dcz_mixing_alone(mixing, counters + 16, 255)) {
    up = dcz_mixing_alone(mixing, counters + 17, 255) ? 1 : -1;
    while (dcz_mixing_alone(mixing, counters + (distance < 15 ? distance : 15), 255)) {
      ++distance;
      if (expected + up * distance < 2 || expected + up * distance > most) return 0;
    }
    off = up * distance;
  }
  return expected + off < 2 || expected + off > most ? 0 : expected + off;
}

/* "First come the centroids, in ascending order." */
static dcz_error take_centroids(dcz_adaptive *a, uint32_t centroids) {
  const uint32_t width = 8u * a->elements->size;
  const uint64_t largest = ~UINT64_C(0) >> (64 - width);
  dcz_counter counters[18];
  uint64_t ordered = 0;
  int32_t last = (int32_t)width + 8, before = last, size;
  uint32_t i;
  for (i = 0; i < 18; ++i) counters[i] = DCZ_COUNTER(32768, 0);
  for (i = 0; i < centroids; ++i) {
    if (i == 0) {
      ordered = take_plain(&a->mixing, width);
    } else {
      uint64_t step = 1;
      size = take_size(&a->mixing, counters, (2 * last + before + 1) / 3, 2 * (int32_t)width + 1);
      if (size == 0) return DCZ_ERROR_PAYLOAD;
      before = last;
      last = size;
      if (size >= 4) {
        const uint32_t low = (uint32_t)size / 2 - 2;
        step = (2u | ((uint64_t)size & 1)) << low | take_plain(&a->mixing, low);
      }
      if (step > largest - ordered) return DCZ_ERROR_PAYLOAD;
      ordered += step;
    }
    ++a->kinds[ordered > largest / 2];
    dcz_elements_centroid(a->elements, i, ordered);
  }
  return a->mixing.input.error;
}

/* "As if all magnitudes were equally likely", at a node of the tree of a kind that has `size` of
 * them. */
static dcz_counter first_counter(uint32_t node, uint32_t size, uint32_t bits) {
  uint32_t depth = 0, half, first, zeros, ones, p;
  while (node >> (depth + 1) != 0) ++depth;
  if (depth >= bits) return DCZ_COUNTER(32768, 0);
  half = UINT32_C(1) << (bits - depth - 1);
  first = 2 * half * node - (UINT32_C(1) << bits);
  zeros = size > first ? size - first : 0;
  ones = size > first + half ? size - first - half : 0;
  if (zeros > half) zeros = half;
  if (ones > half) ones = half;
  if (zeros == 0) return DCZ_COUNTER(32768, 0);
  p = 65536 * ones / (zeros + ones);
  if (p < 64) p = 64;
  if (p > 65472) p = 65472;
  return DCZ_COUNTER(p, 4 * depth + 1);
}

static void fill(dcz_counter *counters, uint32_t count, dcz_counter first) {
  while (count-- > 0) *counters++ = first;
}

static void begin_trees(dcz_counter *trees, uint32_t contexts, uint32_t size,
                        const dcz_adaptive *a) {
  uint32_t context, kind, node;
  for (kind = 0; kind < 2; ++kind) {
    for (node = 1; node < size; ++node) {
      const dcz_counter first = first_counter(node, a->kinds[kind], a->bits[kind]);
      for (context = 0; context < contexts; ++context)
        trees[(2 * context + kind) * size + node] = first;
    }
  }
}

/* Sets of weights in percent, and the numbers of bits so far. */
static void begin_sets(uint32_t *sets, uint32_t count, uint32_t inputs, uint32_t percent) {
  uint32_t i;
  for (; count > 0; --count) {
    for (i = 0; i < inputs; ++i) *sets++ = 65536 * percent / 100;
    *sets++ = 0;
  }
}

/* "A tensor is seen as rows, a row as kernels, a kernel as lines." */
static dcz_error find_grid(dcz_adaptive *a, const dcz_tensor *tensor) {
  const int one_row = tensor->dtype == DCZ_C128 || tensor->dtype >= DCZ_F6_E2M3 || tensor->ndim < 2;
  const uint32_t size = tensor->rows * tensor->cols;
  uint32_t axis, elements = 1, last = 1;
  a->elements_left = size;
  a->row = tensor->cols;
  a->kernel = a->line = 1;
  if (one_row || tensor->cols > MOST_ROW) {
    a->row = size < MOST_ROW ? size : MOST_ROW;
    return DCZ_OK;
  }
  if (tensor->ndim > DCZ_AXES) return DCZ_ERROR_SIZE;
  for (axis = 2; axis < tensor->ndim; ++axis) {
    elements *= tensor->shape[axis];
    if (tensor->shape[axis] > 1) last = tensor->shape[axis];
  }
  if (elements <= MOST_KERNEL) {
    a->kernel = elements;
    a->line = last;
  }
  return DCZ_OK;
}

static uint32_t signs_of(const dcz_adaptive *a) {
  if (a->kernel == 1) return 64;
  return 243 * (a->kernel < 10 ? a->kernel : 10);
}

static uint32_t counts_of(const dcz_adaptive *a) {
  return a->kernel == 1 ? 33 * 32 : 64 * a->kernel;
}

static void plan(dcz_adaptive *a, dcz_work *work, uint32_t centroids) {
  const uint32_t c = sizeof(dcz_counter), tree = 2 * TREE * c;
  dcz_mixing_plan(&a->mixing, work);
  a->here = dcz_work_take(work, a->row + 2);
  a->above = dcz_work_take(work, a->row + 2);
  a->columns = dcz_work_take(work, (uint64_t)a->row * sizeof *a->columns);
  a->levels = dcz_work_take(work, LAST_LEVEL + 1);
  a->by_history = dcz_work_take(work, 512 * c);
  a->by_count = dcz_work_take(work, counts_of(a) * c);
  a->by_sizes = dcz_work_take(work, LEVELS * LEVELS * c);
  a->survival_sets = dcz_work_take(work, (a->kernel < 4 ? 4 : a->kernel) * 6 * c);
  if (centroids == 0) return;
  a->by_strengths = dcz_work_take(work, 375 * c);
  a->by_pulls = dcz_work_take(work, SIGNED_LEVELS * SIGNED_LEVELS * c);
  a->by_signs = dcz_work_take(work, signs_of(a) * c);
  if (a->kernel > 1) a->by_slopes = dcz_work_take(work, SIGNED_LEVELS * SIGNED_LEVELS * c);
  a->sign_sets = dcz_work_take(work, a->kernel * 7 * c);
  a->kernel_size = dcz_work_take(work, a->row / a->kernel * sizeof *a->kernel_size);
  a->by_place = dcz_work_take(work, a->kernel * tree);
  a->by_mean = dcz_work_take(work, LEVELS * tree);
  a->by_pull = dcz_work_take(work, SIGNED_LEVELS * tree);
  a->deep = dcz_work_take(work, 2 * DEEP * c);
  a->magnitude_sets = dcz_work_take(work, TREE_BITS * 4 * c);
}

static void begin_survival(dcz_adaptive *a) {
  uint32_t i;
  begin_levels(a->levels);
  memset(a->here, 0, a->row + 2);
  for (i = 0; i < a->row; ++i) {
    a->columns[i].survival = DCZ_COUNTER(a->density, 3);
    a->columns[i].positive = DCZ_COUNTER(32768, 0);
    a->columns[i].pull = 0;
    a->columns[i].signs = 0;
  }
  fill(a->by_history, 512, DCZ_COUNTER(a->density, 1));
  fill(a->by_count, counts_of(a), DCZ_COUNTER(a->density, 1));
  fill(a->by_sizes, LEVELS * LEVELS, DCZ_COUNTER(a->density, 1));
  begin_sets(a->survival_sets, a->kernel < 4 ? 4 : a->kernel, 5, 26);
}

static void begin_codes(dcz_adaptive *a) {
  uint32_t i;
  for (i = 0; i < 2; ++i) {
    a->bits[i] = 0;
    while (a->kinds[i] > UINT32_C(1) << a->bits[i]) ++a->bits[i];
  }
  fill(a->by_strengths, 375, DCZ_COUNTER(32768, 0));
  fill(a->by_pulls, SIGNED_LEVELS * SIGNED_LEVELS, DCZ_COUNTER(32768, 0));
  fill(a->by_signs, signs_of(a), DCZ_COUNTER(32768, 0));
  if (a->kernel > 1) fill(a->by_slopes, SIGNED_LEVELS * SIGNED_LEVELS, DCZ_COUNTER(32768, 0));
  begin_sets(a->sign_sets, a->kernel, a->kernel == 1 ? 5 : 6, a->kernel == 1 ? 35 : 28);
  a->all_size = FIRST_SIZE;
  for (i = 0; i < a->row / a->kernel; ++i) a->kernel_size[i] = FIRST_SIZE;
  begin_trees(a->by_place, a->kernel, TREE, a);
  begin_trees(a->by_mean, LEVELS, TREE, a);
  begin_trees(a->by_pull, SIGNED_LEVELS, TREE, a);
  begin_trees(a->deep, 1, DEEP, a);
  begin_sets(a->magnitude_sets, TREE_BITS, 3, 33);
}

dcz_error dcz_adaptive_open(dcz_adaptive *a, dcz_work *work, dcz_elements *elements,
                            const dcz_source *source, uint32_t at, uint32_t end,
                            const dcz_tensor *tensor, uint32_t survivors, uint32_t centroids) {
  const uint32_t size = tensor->rows * tensor->cols;
  uint8_t last = 0;
  dcz_input input;
  dcz_error error;
  memset(a, 0, sizeof *a);
  error = find_grid(a, tensor);
  if (error != DCZ_OK) return error;
  plan(a, work, centroids);
  if (work->next == NULL) return DCZ_OK;
  if (at < end) {
    dcz_input_open(&input, source, end - 1, end);
    last = dcz_input_byte(&input);
    if (last == 0) dcz_input_refuse(&input);
    if (input.error != DCZ_OK) return input.error;
  }
  a->elements = elements;
  elements->centroids = (uint16_t)centroids;
  a->survivors = survivors;
  a->full = survivors > size - size / 16;
  a->dense = survivors > size / 2;
  a->density = dcz_ratio(survivors, size);
  if (a->density < 16) a->density = 16;
  if (a->density > 65520) a->density = 65520;
  dcz_mixing_open(&a->mixing, source, at, end);
  error = take_centroids(a, centroids);
  if (error != DCZ_OK) return error;
  begin_survival(a);
  if (centroids > 0) begin_codes(a);
  a->in_row = a->row;
  return DCZ_OK;
}
