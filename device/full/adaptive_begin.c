/* What the model of `small` takes, and how it is before the first element. docs/format.md,
   "Adaptive". */
#include "adaptive.h"

#define MOST_ROW 65536u
#define MOST_KERNEL 64u
#define FIRST_SIZE (24 * 16)

/* "The number of the thresholds that v reaches"; the last one is 192. */
static void begin_levels(uint8_t *levels) {
  static const uint8_t from[DCZ_LEVELS] = {1, 3, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 255};
  uint32_t i, found = 0;
  for (i = 0; i <= DCZ_LAST_LEVEL; ++i) {
    if (i >= from[found]) ++found;
    levels[i] = (uint8_t)found;
  }
}

/* "As if all magnitudes were equally likely", at a node of the tree of a kind that has `size` of
   them. */
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
  const uint32_t c = sizeof(dcz_counter), tree = 2 * DCZ_TREE * c;
  dcz_mixing_plan(&a->mixing, work);
  a->here = dcz_work_take(work, a->row + 2);
  a->above = dcz_work_take(work, a->row + 2);
  a->columns = dcz_work_take(work, (uint64_t)a->row * sizeof *a->columns);
  a->levels = dcz_work_take(work, DCZ_LAST_LEVEL + 1);
  a->by_history = dcz_work_take(work, 512 * c);
  a->by_count = dcz_work_take(work, counts_of(a) * c);
  a->by_sizes = dcz_work_take(work, DCZ_LEVELS * DCZ_LEVELS * c);
  a->survival_sets = dcz_work_take(work, (a->kernel < 4 ? 4 : a->kernel) * 6 * c);
  if (centroids == 0) return;
  a->by_strengths = dcz_work_take(work, 375 * c);
  a->by_pulls = dcz_work_take(work, DCZ_SIGNED_LEVELS * DCZ_SIGNED_LEVELS * c);
  a->by_signs = dcz_work_take(work, signs_of(a) * c);
  if (a->kernel > 1) a->by_slopes = dcz_work_take(work, DCZ_SIGNED_LEVELS * DCZ_SIGNED_LEVELS * c);
  a->sign_sets = dcz_work_take(work, a->kernel * 7 * c);
  a->kernel_size = dcz_work_take(work, a->row / a->kernel * sizeof *a->kernel_size);
  a->by_place = dcz_work_take(work, a->kernel * tree);
  a->by_mean = dcz_work_take(work, DCZ_LEVELS * tree);
  a->by_pull = dcz_work_take(work, DCZ_SIGNED_LEVELS * tree);
  a->deep = dcz_work_take(work, 2 * DCZ_DEEP * c);
  a->magnitude_sets = dcz_work_take(work, DCZ_TREE_BITS * 4 * c);
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
  fill(a->by_sizes, DCZ_LEVELS * DCZ_LEVELS, DCZ_COUNTER(a->density, 1));
  begin_sets(a->survival_sets, a->kernel < 4 ? 4 : a->kernel, 5, 26);
}

static void begin_codes(dcz_adaptive *a) {
  uint32_t i;
  for (i = 0; i < 2; ++i) {
    a->bits[i] = 0;
    while (a->kinds[i] > UINT32_C(1) << a->bits[i]) ++a->bits[i];
  }
  fill(a->by_strengths, 375, DCZ_COUNTER(32768, 0));
  fill(a->by_pulls, DCZ_SIGNED_LEVELS * DCZ_SIGNED_LEVELS, DCZ_COUNTER(32768, 0));
  fill(a->by_signs, signs_of(a), DCZ_COUNTER(32768, 0));
  if (a->kernel > 1)
    fill(a->by_slopes, DCZ_SIGNED_LEVELS * DCZ_SIGNED_LEVELS, DCZ_COUNTER(32768, 0));
  begin_sets(a->sign_sets, a->kernel, a->kernel == 1 ? 5 : 6, a->kernel == 1 ? 35 : 28);
  a->all_size = FIRST_SIZE;
  for (i = 0; i < a->row / a->kernel; ++i) a->kernel_size[i] = FIRST_SIZE;
  begin_trees(a->by_place, a->kernel, DCZ_TREE, a);
  begin_trees(a->by_mean, DCZ_LEVELS, DCZ_TREE, a);
  begin_trees(a->by_pull, DCZ_SIGNED_LEVELS, DCZ_TREE, a);
  begin_trees(a->deep, 1, DCZ_DEEP, a);
  begin_sets(a->magnitude_sets, DCZ_TREE_BITS, 3, 33);
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
  error = dcz_adaptive_centroids(a, centroids);
  if (error != DCZ_OK) return error;
  begin_survival(a);
  if (centroids > 0) begin_codes(a);
  a->in_row = a->row;
  return DCZ_OK;
}
