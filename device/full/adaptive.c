/* Survival, signs and magnitudes by adaptive probabilities. docs/format.md, "Adaptive". */
#include "adaptive.h"

static const uint16_t slow[DCZ_MIXER_INPUTS] = {DCZ_COUNT_LIMIT, DCZ_COUNT_LIMIT, DCZ_COUNT_LIMIT,
                                                DCZ_COUNT_LIMIT, DCZ_COUNT_LIMIT, DCZ_COUNT_LIMIT};

static uint32_t level(const dcz_adaptive *a, int32_t size) {
  return a->levels[size < DCZ_LAST_LEVEL ? size : DCZ_LAST_LEVEL];
}

static uint32_t signed_level(const dcz_adaptive *a, int32_t size) {
  const uint32_t found = level(a, size < 0 ? -size : size);
  return size < 0 ? DCZ_LEVELS - 1 - found : DCZ_LEVELS - 1 + found;
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
    const uint32_t sizes =
        DCZ_LEVELS * level(a, magnitude_of(at->west) + magnitude_of(at->west2) / 2) +
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
  counters[3] = a->by_pulls + DCZ_SIGNED_LEVELS * signed_level(a, at->pull) +
                signed_level(a, column->pull >> 2);
  if (a->kernel == 1) {
    counters[4] = a->by_signs + (column->signs & 63);
    bit = dcz_mixing_bit_of(&a->mixing, a->sign_sets, 8, 5, counters, slow);
    column->signs = (uint8_t)((uint32_t)column->signs << 1 | bit);
    return bit;
  }
  counters[4] = a->by_signs + 243 * (a->in_kernel < 9 ? a->in_kernel : 9) + three(at->west) +
                3 * three(at->north) + 9 * three(at->west2) + 27 * three(at->north2) +
                81 * three(at->northwest);
  counters[5] = a->by_slopes + DCZ_SIGNED_LEVELS * signed_level(a, 2 * at->west - at->west2) +
                signed_level(a, 2 * at->north - at->north2);
  return dcz_mixing_bit_of(&a->mixing, a->sign_sets + 7 * a->in_kernel, 8, 6, counters, slow);
}

/* The counters of a kind in a context: node n, from 1 on, is number n. */
static dcz_counter *tree_of(dcz_counter *trees, uint32_t context, uint32_t kind) {
  return trees + (2 * context + kind) * DCZ_TREE;
}

static uint32_t take_magnitude(dcz_adaptive *a, const around *at, uint32_t kind) {
  const uint32_t place = a->kernel == 1 ? a->in_row : a->in_row / a->kernel;
  const uint32_t mean = (uint32_t)(a->row_size + a->kernel_size[place]) >> 7;
  dcz_counter *const by_place = tree_of(a->by_place, a->in_kernel, kind);
  dcz_counter *const by_mean =
      tree_of(a->by_mean, mean < DCZ_LEVELS - 1 ? mean : DCZ_LEVELS - 1, kind);
  dcz_counter *const by_pull =
      tree_of(a->by_pull, signed_level(a, kind ? at->pull : -at->pull), kind);
  dcz_counter *const deep = a->deep + kind * DCZ_DEEP;
  /* an almost full tensor spends more on codes, and low bits gain least */
  const uint32_t bits = a->bits[kind], mixed = a->dense ? 2 : DCZ_TREE_BITS;
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
      dcz_counter *const counter = depth < DCZ_TREE_BITS && a->kernel > 1 ? by_pull : deep;
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
