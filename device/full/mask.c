/* Masks: layouts, classes of rows and columns, groups. docs/format.md, "Mask". */
#include "mask.h"

#include <string.h>

#include "sequence.h"

enum { BY_COLUMNS = 1, ROW_CLASSES = 2, COLUMN_CLASSES = 4 };

#define MOST_CLASSES 64
#define MOST_LINES (UINT32_C(1) << 20)

/* A block of `count` numbers below `limit` into `to`. */
static void take_numbers(dcz_input *input, dcz_block *block, uint8_t *to, uint32_t count,
                         uint32_t limit) {
  if (input->error != DCZ_OK) return;
  dcz_block_open(block, input->source, dcz_input_at(input), input->end, count, limit);
  while (count-- > 0 && block->error == DCZ_OK) *to++ = dcz_block_next(block);
  if (dcz_block_end(block) != DCZ_OK) {
    input->error = block->error;
  } else {
    dcz_input_open(input, input->source, block->after, input->end);
  }
}

static uint32_t extent(const dcz_tensor *tensor, uint32_t first, uint32_t end) {
  uint32_t product = 1;
  for (; first < end; ++first) product *= first < DCZ_AXES ? tensor->shape[first] : 1;
  return product;
}

/* "Row i of the matrix has the class at i / repeat mod symbols." Gives the number of classes. */
static uint32_t take_classes(dcz_input *input, dcz_block *block, const dcz_tensor *tensor,
                             uint32_t begin, uint32_t end, uint8_t *classes) {
  const uint32_t first = dcz_input_byte(input), last = dcz_input_byte(input),
                 count = dcz_input_byte(input);
  uint32_t symbols, repeat, size, i;
  if (first < begin || first >= last || last > end || count < 2 || count > MOST_CLASSES)
    dcz_input_refuse(input);
  if (input->error != DCZ_OK) return 1;
  symbols = extent(tensor, first, last);
  repeat = extent(tensor, last, end);
  size = extent(tensor, begin, end);
  take_numbers(input, block, classes, symbols, count);
  if (input->error != DCZ_OK) return 1;
  /* from the last one on, so that no class is overwritten before it is used; then the same again
     and again */
  for (i = symbols; i-- > 0 && repeat > 1;) memset(classes + i * repeat, classes[i], repeat);
  for (i = symbols * repeat; i < size; ++i) classes[i] = classes[i - symbols * repeat];
  return count;
}

/* A tensor of other than whole elements of 8 bytes at most is one row (docs/format.md, "Rows"). */
static uint32_t axes_of(const dcz_tensor *tensor) {
  return tensor->dtype == DCZ_C128 || tensor->dtype >= DCZ_F6_E2M3 ? 1 : tensor->ndim;
}

dcz_error dcz_mask_plan(dcz_mask_room *room, dcz_work *work, const dcz_source *source, uint32_t at,
                        uint32_t end, const dcz_tensor *tensor) {
  const uint32_t axes = axes_of(tensor);
  dcz_input input;
  int wide;
  memset(room, 0, sizeof *room);
  dcz_input_open(&input, source, at, end);
  room->layout = dcz_input_byte(&input);
  if (room->layout > 7) dcz_input_refuse(&input);
  if (room->layout != 0) {
    room->split = dcz_input_byte(&input);
    if (room->split < 1 || room->split >= axes || tensor->rows == 0 || tensor->cols == 0)
      dcz_input_refuse(&input);
    if (axes > DCZ_AXES) return DCZ_ERROR_SIZE;
  }
  if (input.error != DCZ_OK) return input.error;
  if ((room->layout & (ROW_CLASSES | COLUMN_CLASSES)) != 0) {
    const uint32_t rows = extent(tensor, 0, room->split),
                   columns = extent(tensor, room->split, axes);
    const uint32_t lines = (room->layout & BY_COLUMNS) != 0 ? columns : rows;
    const uint32_t width = (room->layout & BY_COLUMNS) != 0 ? rows : columns;
    if (rows > MOST_LINES || columns > MOST_LINES) return DCZ_ERROR_PAYLOAD;
    room->line_class = dcz_work_take(work, lines);
    room->cross_class = dcz_work_take(work, width);
    room->cross = dcz_work_take(work, 4 * width);
    room->group = dcz_work_take(work, MOST_CLASSES * MOST_CLASSES);
    wide = 1;
  } else {
    wide = dcz_sequence_wide(&input);
  }
  if (wide) room->patterns = dcz_work_take(work, 2 << DCZ_PATTERN_BITS);
  return input.error;
}

static void take_groups(dcz_input *input, dcz_walk *w, const dcz_mask_room *room, uint32_t groups) {
  uint32_t lines[MOST_CLASSES] = {0}, crosses[MOST_CLASSES] = {0};
  uint32_t group, i, j;
  for (i = 0; i < w->lines; ++i) ++lines[room->line_class[i]];
  for (i = 0; i < w->width; ++i) ++crosses[room->cross_class[i]];
  for (group = 0; group < groups && input->error == DCZ_OK; ++group) {
    uint32_t size = 0;
    for (i = 0; i < w->line_classes; ++i) {
      for (j = 0; j < w->cross_classes; ++j) {
        if (dcz_walk_group(w, i, j) == group) size += lines[i] * crosses[j];
      }
    }
    dcz_walk_begin(w, (uint8_t)group);
    dcz_sequence_take(input, w, room, size);
  }
}

/* The classes of rows and columns, and the groups; gives their number. */
static uint32_t take_head(dcz_input *input, dcz_walk *w, const dcz_mask_room *room,
                          const dcz_tensor *tensor) {
  const int by_columns = (room->layout & BY_COLUMNS) != 0;
  uint8_t *const row_class = by_columns ? room->cross_class : room->line_class;
  uint8_t *const column_class = by_columns ? room->line_class : room->cross_class;
  uint32_t rows = 1, columns = 1, groups;
  memset(room->line_class, 0, w->lines);
  memset(room->cross_class, 0, w->width);
  if ((room->layout & ROW_CLASSES) != 0)
    rows = take_classes(input, room->block, tensor, 0, room->split, row_class);
  if ((room->layout & COLUMN_CLASSES) != 0) {
    columns = take_classes(input, room->block, tensor, room->split, tensor->ndim, column_class);
  }
  groups = dcz_input_byte(input);
  if (groups < 2 || groups > MOST_CLASSES) dcz_input_refuse(input);
  take_numbers(input, room->block, room->group, rows * columns, groups);
  w->room = room;
  w->row_major = !by_columns;
  w->line_classes = by_columns ? columns : rows;
  w->cross_classes = by_columns ? rows : columns;
  return groups;
}

dcz_error dcz_mask_read(const dcz_mask_room *room, const dcz_source *source, uint32_t at,
                        uint32_t end, const dcz_tensor *tensor, const dcz_bitmap *bitmap,
                        uint32_t *after) {
  const int by_columns = (room->layout & BY_COLUMNS) != 0;
  const uint32_t rows = extent(tensor, 0, room->split);
  const uint32_t columns =
      room->layout != 0 ? extent(tensor, room->split, tensor->ndim) : bitmap->size;
  dcz_input input;
  dcz_walk w = {0};
  memset(bitmap->words, 0, (bitmap->size / 32 + 1) * sizeof *bitmap->words);
  dcz_input_open(&input, source, at, end);
  dcz_input_skip(&input, room->layout != 0 ? 2 : 1);
  w.bitmap = bitmap;
  w.lines = by_columns ? columns : rows;
  w.width = by_columns ? rows : columns;
  w.line_step = by_columns ? 1 : columns;
  w.step = by_columns ? columns : 1;
  if ((room->layout & (ROW_CLASSES | COLUMN_CLASSES)) == 0) {
    dcz_walk_begin(&w, 0);
    dcz_sequence_take(&input, &w, room, bitmap->size);
  } else {
    const uint32_t groups = take_head(&input, &w, room, tensor);
    if (input.error == DCZ_OK) take_groups(&input, &w, room, groups);
  }
  *after = dcz_input_at(&input);
  return input.error;
}

uint32_t dcz_bitmap_count(const dcz_bitmap *bitmap) {
  uint32_t count = 0, i;
  for (i = 0; i < bitmap->size / 32 + 1; ++i) {
    uint32_t word = bitmap->words[i];
    word -= word >> 1 & 0x55555555;
    word = (word & 0x33333333) + (word >> 2 & 0x33333333);
    word = (word + (word >> 4)) & 0x0f0f0f0f;
    count += (word * 0x01010101) >> 24;
  }
  return count;
}
