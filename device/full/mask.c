/* Masks: sequences of bits, and the elements that they stand for. docs/format.md, "Mask" and
 * "Sequence". */
#include "mask.h"

#include <string.h>

enum { BY_COLUMNS = 1, ROW_CLASSES = 2, COLUMN_CLASSES = 4 };
enum { NONE, ALL, GAPS, GAPS_BETWEEN_OTHERS, PATTERNS };

#define MOST_CLASSES 64
#define MOST_LINES (UINT32_C(1) << 20)
#define PATTERN_BITS 12
#define PIECE (UINT32_C(1) << 20)

/* The elements of a group, in the order of its sequence: along lines, which are the rows or columns
 * of the matrix. */
typedef struct {
  const dcz_bitmap *bitmap;
  uint32_t lines, width;     /* width: elements along a line */
  uint32_t line_step, step;  /* in the tensor, between lines and along one */
  const dcz_mask_room *room; /* NULL without classes */
  uint32_t line_classes, cross_classes;
  uint8_t row_major, group; /* row_major: a line is a row of the table of groups */
  uint32_t line_class, line, base;
  uint32_t at, length; /* along the line, among its elements of the group */
} walk;

static uint8_t group_of(const walk *w, uint32_t line_class, uint32_t cross_class) {
  return w->room->group[w->row_major ? line_class * w->cross_classes + cross_class
                                     : cross_class * w->line_classes + line_class];
}

/* Lists the elements that lines of one class have in the group. */
static void list_elements(walk *w) {
  uint32_t i;
  w->length = 0;
  for (i = 0; i < w->width; ++i) {
    if (group_of(w, w->line_class, w->room->cross_class[i]) == w->group)
      w->room->cross[w->length++] = i;
  }
}

/* Goes to the first line from `w->line` on that has elements of the group. There must be one. */
static void find_line(walk *w) {
  while (w->room != NULL) {
    if (w->length > 0) {
      while (w->line < w->lines && w->room->line_class[w->line] != w->line_class) ++w->line;
      if (w->line < w->lines) break;
    }
    if (++w->line_class >= w->line_classes) {
      w->line = w->length = 0;
      break;
    }
    w->line = 0;
    list_elements(w);
  }
  w->base = w->line * w->line_step;
}

static void begin_group(walk *w, uint8_t group) {
  w->group = group;
  w->at = w->line = w->line_class = 0;
  w->length = w->width;
  if (w->room != NULL) list_elements(w);
  find_line(w);
}

/* The next element's place in the tensor. */
static inline uint32_t place_of(walk *w) {
  while (w->at >= w->length) {
    w->at -= w->length;
    ++w->line;
    find_line(w);
    if (w->length == 0)
      return 0; /* cannot be: a sequence has as many bits as its group has elements */
  }
  return w->base + (w->room != NULL ? w->room->cross[w->at] : w->at) * w->step;
}

static void fill(walk *w, uint32_t count) {
  uint32_t *const words = w->bitmap->words;
  while (count > 0) {
    uint32_t place = place_of(w), part = 1;
    if (w->room == NULL && w->step == 1) {
      /* up to the end of a word */
      part = 32 - (place & 31);
      if (part > count) part = count;
      if (part > w->length - w->at) part = w->length - w->at;
    }
    words[place >> 5] |= (part == 32 ? ~UINT32_C(0) : (UINT32_C(1) << part) - 1) << (place & 31);
    w->at += part;
    count -= part;
  }
}

static void take_gaps(dcz_input *input, walk *w, dcz_block *block, uint32_t size, uint32_t *after,
                      int others) {
  uint32_t *const words = w->bitmap->words;
  const uint32_t escape = dcz_input_byte(input);
  uint32_t symbols = dcz_input_varint(input);
  uint32_t at = 0, symbol = 0, i;
  if (escape == 0 || symbols > size) dcz_input_refuse(input);
  if (input->error != DCZ_OK) return;
  if (dcz_block_open(block, input->source, dcz_input_at(input), input->end, symbols, escape + 1) !=
      DCZ_OK) {
    input->error = block->error;
    return;
  }
  if (!others && w->room == NULL && w->width == size) {
    /* the most common mask by far: one line */
    for (i = 0; i < symbols; ++i) {
      symbol = dcz_block_next(block);
      if (symbol > size - at || (symbol == size - at && symbol != escape)) {
        dcz_input_refuse(input);
        return;
      }
      at += symbol;
      if (symbol == escape) continue;
      words[at >> 5] |= UINT32_C(1) << (at & 31);
      ++at;
    }
    symbols = 0;
  }
  for (i = 0; i < symbols; ++i) {
    symbol = dcz_block_next(block);
    if (symbol > size - at || (symbol == size - at && symbol != escape)) {
      dcz_input_refuse(input);
      return;
    }
    at += symbol + (symbol != escape);
    if (others) {
      fill(w, symbol);
    } else {
      w->at += symbol;
    }
    if (symbol == escape) continue;
    if (!others) {
      const uint32_t place = place_of(w);
      words[place >> 5] |= UINT32_C(1) << (place & 31);
    }
    ++w->at;
  }
  if (others) fill(w, size - at);
  if (symbol == escape) dcz_input_refuse(input);
  if (dcz_block_end(block) != DCZ_OK) input->error = block->error;
  *after = block->after;
}

/* The bits of a pattern of `width`, of which `left` are within the sequence. */
static void put_pattern(walk *w, uint32_t pattern, uint32_t width, uint32_t left) {
  uint32_t *const words = w->bitmap->words;
  if (width > left) width = left;
  if (w->room == NULL && w->step == 1 && w->at < w->length && width <= w->length - w->at) {
    const uint32_t place = w->base + w->at, shift = place & 31;
    words[place >> 5] |= pattern << shift;
    if (shift + width > 32) words[(place >> 5) + 1] |= pattern >> (32 - shift);
    w->at += width;
    return;
  }
  for (; width > 0; --width, pattern >>= 1, ++w->at) {
    /* without a branch on the bit, half of which would be mispredicted */
    const uint32_t place = place_of(w);
    words[place >> 5] |= (pattern & 1) << (place & 31);
  }
}

/* Patterns above 8 bits: "pieces of 2^20 symbols each". */
static void take_pieces(dcz_input *input, walk *w, dcz_block *block, uint32_t width, uint32_t size,
                        uint16_t *room) {
  uint32_t at = 0;
  block->table.symbols = room;
  block->table.quick = block->quick;
  while (at < size) {
    const uint32_t symbols = (size - at) / width + ((size - at) % width != 0);
    uint32_t length;
    dcz_table_read(&block->table, input, UINT32_C(1) << width, UINT32_C(1) << PATTERN_BITS);
    length = dcz_input_varint(input);
    if (input->error != DCZ_OK) return;
    dcz_table_quicken(&block->table);
    dcz_stream_open(&block->stream, input, length, &block->table,
                    symbols < PIECE ? symbols : PIECE);
    if (input->error != DCZ_OK) return;
    while (block->stream.left > 0) {
      const uint32_t pattern = dcz_stream_next(&block->stream), left = size - at;
      if (left < width && pattern >> left != 0) dcz_input_refuse(input);
      put_pattern(w, pattern, width, left);
      at += left < width ? left : width;
    }
    if (dcz_stream_end(&block->stream) != DCZ_OK) input->error = block->stream.input.error;
  }
}

static void take_patterns(dcz_input *input, walk *w, dcz_block *block, uint32_t size,
                          uint32_t *after, uint16_t *room) {
  const uint32_t width = dcz_input_byte(input);
  uint32_t at;
  if (width < 2 || width > PATTERN_BITS) dcz_input_refuse(input);
  if (input->error != DCZ_OK) return;
  if (width > 8) {
    if (room == NULL) {
      dcz_input_refuse(input);
      return;
    }
    take_pieces(input, w, block, width, size, room);
    *after = dcz_input_at(input);
    return;
  }
  dcz_block_open(block, input->source, dcz_input_at(input), input->end,
                 size / width + (size % width != 0), UINT32_C(1) << width);
  for (at = 0; at < size && block->error == DCZ_OK;) {
    const uint32_t pattern = dcz_block_next(block), left = size - at;
    if (left < width && pattern >> left != 0) dcz_input_refuse(input);
    put_pattern(w, pattern, width, left);
    at += left < width ? left : width;
  }
  if (dcz_block_end(block) != DCZ_OK) input->error = block->error;
  *after = block->after;
}

/* A sequence of `size` bits, of the group that `w` begins. */
static void take_sequence(dcz_input *input, walk *w, const dcz_mask_room *room, uint32_t size) {
  const uint8_t kind = dcz_input_byte(input);
  uint32_t after = dcz_input_at(input);
  if (input->error != DCZ_OK) return;
  if (kind == ALL) {
    fill(w, size);
  } else if (kind == GAPS || kind == GAPS_BETWEEN_OTHERS) {
    take_gaps(input, w, room->block, size, &after, kind == GAPS_BETWEEN_OTHERS);
  } else if (kind == PATTERNS) {
    take_patterns(input, w, room->block, size, &after, room->patterns);
  } else if (kind != NONE) {
    dcz_input_refuse(input);
  }
  if (input->error == DCZ_OK) dcz_input_open(input, input->source, after, input->end);
}

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
   * and again */
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
    wide = dcz_input_byte(&input) == PATTERNS && dcz_input_byte(&input) > 8;
  }
  if (wide) room->patterns = dcz_work_take(work, 2 << PATTERN_BITS);
  return input.error;
}

static void take_groups(dcz_input *input, walk *w, const dcz_mask_room *room, uint32_t groups) {
  uint32_t lines[MOST_CLASSES] = {0}, crosses[MOST_CLASSES] = {0};
  uint32_t group, i, j;
  for (i = 0; i < w->lines; ++i) ++lines[room->line_class[i]];
  for (i = 0; i < w->width; ++i) ++crosses[room->cross_class[i]];
  for (group = 0; group < groups && input->error == DCZ_OK; ++group) {
    uint32_t size = 0;
    for (i = 0; i < w->line_classes; ++i) {
      for (j = 0; j < w->cross_classes; ++j) {
        if (group_of(w, i, j) == group) size += lines[i] * crosses[j];
      }
    }
    begin_group(w, (uint8_t)group);
    take_sequence(input, w, room, size);
  }
}

/* The classes of rows and columns, and the groups; gives their number. */
static uint32_t take_head(dcz_input *input, walk *w, const dcz_mask_room *room,
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
  walk w = {0};
  memset(bitmap->words, 0, (bitmap->size / 32 + 1) * sizeof *bitmap->words);
  dcz_input_open(&input, source, at, end);
  dcz_input_skip(&input, room->layout != 0 ? 2 : 1);
  w.bitmap = bitmap;
  w.lines = by_columns ? columns : rows;
  w.width = by_columns ? rows : columns;
  w.line_step = by_columns ? 1 : columns;
  w.step = by_columns ? columns : 1;
  if ((room->layout & (ROW_CLASSES | COLUMN_CLASSES)) == 0) {
    begin_group(&w, 0);
    take_sequence(&input, &w, room, bitmap->size);
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
