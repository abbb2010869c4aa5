/* Rows of a tensor: the coders `raw` and `device`. Comments in quotes are docs/format.md. */
#include "rows.h"

#include <stddef.h>
#include <string.h>

#ifdef DCZ_FULL
#include "full/full.h"
#endif

/* "The elements take fewer than 2^31 bytes." */
static const uint32_t MOST_BYTES = 0x7fffffff;

/* A column that no end of a row or group reaches: the group is refused. */
static const uint32_t BEHIND = 0x80000000;

/* Bit streams of a payload's head: "filled from the least significant bit of each byte". */
typedef struct {
  dcz_cursor *cursor;
  uint32_t held, count;
} head_bits;

static uint32_t take(head_bits *from, uint32_t count) {
  uint32_t value;
  while (from->count < count) {
    from->held |= (uint32_t)dcz_cursor_byte(from->cursor) << from->count;
    from->count += 8;
  }
  value = from->held & ((1u << count) - 1);
  from->held >>= count;
  from->count -= count;
  return value;
}

/* "The last byte is padded with zero bits." */
static void end_bits(head_bits *from) {
  dcz_cursor_refuse(from->cursor, from->held != 0 || from->cursor->behind > 0);
}

/* "A token is a number v >= 0 in the Elias gamma code of v + 1." Up to 511 here. */
static uint32_t token(head_bits *from) {
  uint32_t held = from->held, count = from->count, value = 0, zeros = 0;
  do {
    if (count == 0) {
      held = dcz_cursor_byte(from->cursor);
      count = 8;
    }
    value = value << 1 | (held & 1);
    held >>= 1;
    --count;
    zeros += value == 0;
    if (zeros > 8) {
      dcz_cursor_refuse(from->cursor, 1);
      return 0;
    }
  } while (value >> zeros == 0);
  from->held = held;
  from->count = count;
  return value - 1;
}

/* "v = 2c - 1 for a change c > 0, else v = -2c" */
static int32_t change(uint32_t v) { return v & 1 ? (int32_t)(v / 2) + 1 : -(int32_t)(v / 2); }

/* Memory for one decoder. Without a buffer it is only counted. */
typedef struct {
  uint8_t *work;
  uint32_t size, used;
} room;

static uint8_t *take_room(room *from, uint32_t bytes, dcz_cursor *cursor) {
  uint8_t *const taken = from->work == NULL ? NULL : from->work + from->used;
  from->used += (bytes + 3) & ~3u;
  if (from->work == NULL) return NULL;
  if (from->used <= from->size) return taken;
  if (cursor->error == DCZ_OK) cursor->error = DCZ_ERROR_WORK;
  return NULL;
}

/* Reads a codebook: each integer is the previous one plus a difference, and then unordered. */
DCZ_APART static uint8_t *read_codebook(dcz_cursor *cursor, uint32_t centroids, uint32_t size,
                                        room *memory) {
  head_bits bits = {NULL, 0, 0};
  uint8_t value[8] = {0};
  uint8_t *const book = take_room(memory, (centroids + 1) * size, cursor);
  int32_t m = 20;
  uint32_t i, j;
  bits.cursor = cursor;
  for (i = 0; i < centroids && cursor->error == DCZ_OK; ++i) {
    uint8_t step[8] = {0};
    uint32_t carry = 0, digits = 8 * size;
    if (i > 0) {
      m += change(token(&bits));
      dcz_cursor_refuse(cursor, m < 1 || m > (int32_t)(8 * size));
      if (cursor->error != DCZ_OK) break;
      digits = (uint32_t)m - 1;
      step[digits >> 3] = (uint8_t)(1u << (digits & 7));
    }
    for (j = 0; j < digits; j += 8) {
      step[j >> 3] = (uint8_t)(step[j >> 3] | take(&bits, digits - j < 8 ? digits - j : 8));
    }
    for (j = 0; j < size; ++j) {
      carry += (uint32_t)value[j] + step[j];
      value[j] = (uint8_t)carry;
      carry >>= 8;
    }
    dcz_cursor_refuse(cursor, carry > 0);
    if (book == NULL) continue;
    /* "If the element's sign bit is clear, the integer is its bits with the sign bit set. If it is
       set, all bits are inverted." */
    for (j = 0; j < size; ++j) {
      const uint8_t flip = value[size - 1] & 0x80 ? (j == size - 1 ? 0x80 : 0) : 0xff;
      book[i * size + j] = value[j] ^ flip;
    }
  }
  end_bits(&bits);
  if (book != NULL) memset(book + centroids * size, 0, size); /* a filler */
  return book;
}

/* The entry of a code: a gap's value is its step, and the escape steps over E elements. */
static uint32_t entry_of(const dcz_code *code, uint32_t symbol, uint32_t length) {
  const uint32_t entry = length << 8 | symbol;
  if (code->escape == 0) return entry;
  return symbol == code->escape ? entry | DCZ_ESCAPE : entry + 1;
}

uint32_t dcz_long(const dcz_code *code, uint32_t bits) {
  const uint8_t *const symbols = (const uint8_t *)(code + 1);
  const uint32_t window = bits >> (32 - DCZ_CODE_BITS);
  uint32_t i = 0, at;
  while (window >= code->limit[i]) ++i;
  at = (window >> (DCZ_CODE_BITS - DCZ_QUICK_BITS - 1 - i)) + code->start[i];
  return entry_of(code, symbols[at & 0xff], DCZ_QUICK_BITS + 1 + i);
}

uint32_t dcz_slow_step(dcz_rows *rows, uint32_t column) {
  const uint8_t *now = rows->bytes.now;
  uint32_t bits = rows->bits, entry;
  int32_t shift = rows->shift, escape;
  do {
    DCZ_REFILL(rows, bits, shift, now)
    entry = DCZ_ENTRY(rows->gaps, bits);
    if (entry & DCZ_LONG) entry = dcz_long(rows->gaps, bits);
    escape = entry >= DCZ_ESCAPE;
    entry &= 0xfff;
    DCZ_TAKE(entry >> 8, bits, shift)
    column += entry & 0xff;
  } while (escape && column + 1 <= rows->limit);
  if (escape) column = BEHIND;
  rows->bytes.now = now;
  rows->bits = bits;
  rows->shift = shift;
  return column;
}

/* Puts a symbol with its code into the tables. */
static void put_code(dcz_code *code, uint32_t symbol, uint32_t length, uint32_t bits) {
  if (length > DCZ_QUICK_BITS) {
    uint8_t *const symbols = (uint8_t *)(code + 1);
    const uint32_t at = bits + code->start[length - DCZ_QUICK_BITS - 1];
    symbols[at & 0xff] = (uint8_t)symbol;
    code->quick[bits >> (length - DCZ_QUICK_BITS)] = DCZ_LONG;
  } else {
    const uint16_t entry = (uint16_t)entry_of(code, symbol, length);
    uint32_t at = bits << (DCZ_QUICK_BITS - length);
    const uint32_t end = at + (1u << (DCZ_QUICK_BITS - length));
    for (; at < end; ++at) code->quick[at] = entry;
  }
}

/* Reads a table for symbols below `alphabet`, in two passes: the codes follow from the number of
   codes of each length. */
static const dcz_code *read_code(dcz_cursor *cursor, uint32_t alphabet, uint32_t escape,
                                 room *memory) {
  const uint32_t symbols = dcz_cursor_number(cursor), begin = cursor->end - dcz_cursor_left(cursor);
  uint16_t count[DCZ_CODE_BITS + 1] = {0}, next[DCZ_CODE_BITS + 1] = {0};
  dcz_code *code = NULL;
  uint32_t pass, used = 0, left = 0, longs = 0;
  dcz_cursor_refuse(cursor, symbols < 1 || symbols > alphabet);
  for (pass = 0; pass < 2; ++pass) {
    head_bits bits = {NULL, 0, 0};
    int32_t length = 4;
    uint32_t symbol, i;
    bits.cursor = cursor;
    for (symbol = 0; symbol < symbols && cursor->error == DCZ_OK; ++symbol) {
      const uint32_t v = token(&bits);
      if (v == 2) {
        symbol += token(&bits);
        dcz_cursor_refuse(cursor, symbol >= symbols - 1); /* "The last symbol occurs." */
        continue;
      }
      /* 0, 1, 3, 4, 5, 6 ...: 0, + 1, - 1, + 2, - 2, + 3 ... */
      length += v == 1 ? 1 : v & 1 ? -(int32_t)(v / 2) : (int32_t)(v / 2);
      dcz_cursor_refuse(cursor, length < 1 || length > DCZ_CODE_BITS);
      if (cursor->error != DCZ_OK) return NULL;
      if (pass == 0) {
        ++count[length];
        left = ++used;
      } else if (count[length]-- == 0) { /* a source that changed between the passes */
        cursor->error = cursor->flaw;
      } else {
        put_code(code, symbol, used == 1 ? 0 : (uint32_t)length, next[length]++);
        --left;
      }
    }
    end_bits(&bits);
    dcz_cursor_refuse(cursor, pass == 1 && left > 0);
    if (cursor->error != DCZ_OK || pass == 1) return code;

    for (i = 1, symbol = 0; i <= DCZ_CODE_BITS; ++i) {
      symbol = (symbol + count[i - 1]) << 1;
      next[i] = (uint16_t)symbol;
      if (i > DCZ_QUICK_BITS) longs += count[i];
    }
    /* "If only one symbol occurs, its length is 1", otherwise the lengths fill the code space. */
    dcz_cursor_refuse(
        cursor, used == 1 ? count[1] != 1 : symbol + count[DCZ_CODE_BITS] != 1u << DCZ_CODE_BITS);
    code = (dcz_code *)(void *)take_room(memory, (uint32_t)sizeof *code + longs, cursor);
    if (code == NULL) return NULL;
    code->escape = (uint16_t)escape;
    for (i = longs = 0; i < DCZ_CODE_BITS - DCZ_QUICK_BITS; ++i) {
      const uint32_t of_length = count[DCZ_QUICK_BITS + 1 + i],
                     first = next[DCZ_QUICK_BITS + 1 + i];
      code->limit[i] = (uint16_t)((first + of_length) << (DCZ_CODE_BITS - DCZ_QUICK_BITS - 1 - i));
      code->start[i] = (uint16_t)(longs - first);
      longs += of_length;
    }
    dcz_cursor_set(cursor, begin, cursor->end);
  }
  return code;
}

/* Whether entries take bits: one of the codes has two symbols or more. */
static int takes_bits(const dcz_rows *rows) {
  return rows->gaps != NULL && rows->codes != NULL &&
         (rows->gaps->quick[0] | rows->codes->quick[0]) >> 8 != 0;
}

/* Reads a payload up to its groups. Their lengths are checked here, once for all. */
static void read_head(dcz_rows *rows, uint32_t dtype, room *memory) {
  dcz_cursor *const cursor = &rows->bytes;
  const uint8_t kind = dcz_cursor_byte(cursor);
  uint32_t alphabet = 256, total = 0, row, escape;
  const uint32_t bytes = rows->rows * rows->cols * rows->size;
  dcz_cursor_refuse(cursor, bytes > MOST_BYTES);
  if (kind == 0) {
    dcz_cursor_refuse(cursor, dcz_cursor_left(cursor) > 0 || cursor->behind > 0);
    return;
  }
  rows->group = dcz_cursor_number(cursor);
  dcz_cursor_refuse(cursor, kind != 1 || rows->group < 1 || rows->group > rows->rows || bytes == 0);
  if (rows->size > 1) {
    const uint32_t centroids = dcz_cursor_byte(cursor) + 1u;
    dcz_cursor_refuse(cursor, dtype > DCZ_BF16);
    rows->codebook = read_codebook(cursor, centroids, rows->size, memory);
    rows->centroids = centroids;
    if (centroids < 256) alphabet = centroids + 1;
  }
  escape = dcz_cursor_byte(cursor);
  dcz_cursor_refuse(cursor, escape < 1);
  rows->gaps = read_code(cursor, escape + 1, escape, memory);
  rows->codes = read_code(cursor, alphabet, 0, memory);
  rows->first_lengths = cursor->end - dcz_cursor_left(cursor);
  /* A bit passes 255 elements at most, and the gap that takes none as many. So no elements are
     claimed, and no time is spent, for bytes that are not there. */
  dcz_cursor_refuse(cursor,
                    takes_bits(rows) && rows->rows * rows->cols >> 11 > dcz_cursor_left(cursor));
  for (row = 0; row < rows->rows && cursor->error == DCZ_OK; row += rows->group) {
    const uint32_t length = dcz_cursor_number(cursor);
    dcz_cursor_refuse(cursor, cursor->behind > 0 || length > cursor->end - total);
    total += length;
  }
  rows->first = cursor->end - dcz_cursor_left(cursor);
  dcz_cursor_refuse(cursor, total != dcz_cursor_left(cursor));
}

/* Everything but the place of the first row. */
static dcz_error prepare(dcz_rows *rows, const dcz_file *file, const dcz_tensor *tensor,
                         uint8_t *buffer, room *memory) {
  dcz_cursor *const cursor = &rows->bytes;
  memset(rows, 0, sizeof *rows);
  rows->rows = rows->group = tensor->rows;
  rows->cols = tensor->cols;
  rows->coder = tensor->coder;
  rows->size = tensor->size;
  rows->first = tensor->offset;
  rows->end = tensor->offset + tensor->length;
  cursor->source = &file->source;
  cursor->buffer = buffer;
  cursor->flaw = DCZ_ERROR_PAYLOAD;
  dcz_cursor_set(cursor, tensor->offset, rows->end);
  if (tensor->coder == DCZ_DEVICE) {
    read_head(rows, tensor->dtype, memory);
  } else if (tensor->coder == DCZ_RAW) {
    dcz_cursor_refuse(cursor, tensor->length != tensor->rows * tensor->cols * tensor->size);
  } else {
    cursor->error = DCZ_ERROR_CODER;
  }
  return cursor->error;
}

/* Only a callback needs a buffer. */
static uint32_t buffer_bytes(const dcz_file *file) {
  return file->source.memory == NULL ? DCZ_BUFFER : 0;
}

#ifdef DCZ_FULL
static int is_full(uint8_t coder) { return coder != DCZ_RAW && coder != DCZ_DEVICE; }

static dcz_error open_full(dcz_rows *rows, const dcz_file *file, const dcz_tensor *tensor,
                           void *work, uint32_t size) {
  memset(rows, 0, sizeof *rows);
  rows->rows = tensor->rows;
  rows->cols = tensor->cols;
  rows->coder = tensor->coder;
  rows->size = tensor->size;
  rows->taken = size;
  return rows->bytes.error = dcz_full_open(&rows->full, file, tensor, work, size);
}

static dcz_error next_full(dcz_rows *rows, void *row) {
  if (rows->bytes.error != DCZ_OK) return rows->bytes.error;
  if (rows->row >= rows->rows) return DCZ_ERROR_RANGE;
  ++rows->row;
  return rows->bytes.error = dcz_full_next(rows->full, row, rows->cols);
}
#endif

dcz_error dcz_work_size(const dcz_file *file, const dcz_tensor *tensor, uint32_t *bytes) {
  uint8_t buffer[DCZ_BUFFER];
  dcz_rows rows;
  room memory = {NULL, 0, 0};
  dcz_error error;
#ifdef DCZ_FULL
  if (is_full(tensor->coder)) return dcz_full_size(file, tensor, bytes);
#endif
  error = prepare(&rows, file, tensor, buffer, &memory);
  *bytes = memory.used + buffer_bytes(file);
  return error;
}

static void to_start(dcz_rows *rows) {
  rows->row = rows->behind = 0;
  rows->lengths = rows->first_lengths;
  rows->begin = rows->first;
}

dcz_error dcz_rows_open(dcz_rows *rows, const dcz_file *file, const dcz_tensor *tensor, void *work,
                        uint32_t size) {
  room memory = {NULL, 0, 0};
  memory.work = (uint8_t *)work;
  memory.size = size;
#ifdef DCZ_FULL
  if (is_full(tensor->coder)) return open_full(rows, file, tensor, work, size);
#endif
  memory.used = buffer_bytes(file);
  if (memory.used > size || ((uintptr_t)work & 3) != 0) return DCZ_ERROR_WORK;
  prepare(rows, file, tensor, memory.work, &memory);
  if (memory.used > size) rows->bytes.error = DCZ_ERROR_WORK;
  rows->taken = memory.used;
  to_start(rows);
  return rows->bytes.error;
}

/* Reads the length at `rows->lengths`, the next one. */
static uint32_t next_length(dcz_rows *rows) {
  uint32_t length;
  dcz_cursor_set(&rows->bytes, rows->lengths, rows->first);
  length = dcz_cursor_number(&rows->bytes);
  rows->lengths = rows->first - dcz_cursor_left(&rows->bytes);
  dcz_cursor_refuse(&rows->bytes, length > rows->end - rows->begin);
  return rows->bytes.error != DCZ_OK ? 0 : length;
}

static void start_group(dcz_rows *rows) {
  const uint32_t left = rows->rows - rows->row, length = rows->gaps == NULL ? 0 : next_length(rows);
  rows->behind = rows->row + (rows->group < left ? rows->group : left);
  rows->limit = (rows->behind - rows->row) * rows->cols;
  dcz_cursor_set(&rows->bytes, rows->begin, rows->begin + length);
  rows->begin += length;
  rows->bits = 0;
  rows->shift = 24;
  rows->column = (uint32_t)-1;
  if (rows->gaps != NULL) rows->column = dcz_slow_step(rows, rows->column);
}

dcz_error dcz_group_begin(dcz_rows *rows) {
  if (rows->bytes.error != DCZ_OK) return rows->bytes.error;
  if (rows->coder != DCZ_DEVICE) return DCZ_ERROR_CODER;
  if (rows->row >= rows->rows) return DCZ_ERROR_RANGE;
  start_group(rows);
  return rows->bytes.error;
}

dcz_error dcz_group_end(dcz_rows *rows) {
  /* "Each group has exactly its bytes": behind the last code, padding bits alone are left. */
  const uint8_t *now = rows->bytes.now;
  uint32_t left;
  if (rows->gaps == NULL) return rows->bytes.error;
  DCZ_REFILL(rows, rows->bits, rows->shift, now)
  rows->bytes.now = now;
  left = (uint32_t)(24 - rows->shift) + 8 * (dcz_cursor_left(&rows->bytes) - rows->bytes.behind);
  dcz_cursor_refuse(&rows->bytes, rows->column != 0 || rows->bits != 0 || left > 7 ||
                                      dcz_cursor_left(&rows->bytes) > 16);
  return rows->bytes.error;
}

dcz_error dcz_rows_seek(dcz_rows *rows, uint32_t row) {
  if (row > rows->rows) return DCZ_ERROR_RANGE;
#ifdef DCZ_FULL
  if (is_full(rows->coder)) {
    rows->row = row;
    if (rows->bytes.error != DCZ_OK) return rows->bytes.error;
    return rows->bytes.error = dcz_full_seek(rows->full, row * rows->cols);
  }
#endif
  to_start(rows);
  if (rows->gaps == NULL) { /* `raw`, or no element survives */
    rows->row = rows->behind = row;
    return rows->bytes.error;
  }
  while (row - rows->row >= rows->group && rows->bytes.error == DCZ_OK) {
    rows->begin += next_length(rows);
    rows->row = rows->behind = rows->row + rows->group;
  }
  while (rows->row < row && dcz_row_begin(rows) == DCZ_OK) {
    DCZ_WALK(rows, column, symbol, (void)symbol;)
    dcz_row_end(rows);
  }
  return rows->bytes.error;
}

dcz_error dcz_rows_next(dcz_rows *rows, void *row) {
  uint8_t *const to = (uint8_t *)row;
  const uint32_t size = rows->size, bytes = rows->cols * size;
  dcz_error error;
#ifdef DCZ_FULL
  if (is_full(rows->coder)) return next_full(rows, row);
#endif
  error = dcz_row_begin(rows);
  if (rows->coder == DCZ_RAW && rows->bytes.error == DCZ_OK) {
    const dcz_source *const source = rows->bytes.source;
    const uint32_t begin = rows->first + rows->row * bytes;
    if (rows->row >= rows->rows) return DCZ_ERROR_RANGE;
    ++rows->row;
    if (bytes == 0) return DCZ_OK;
    if (source->memory == NULL) {
      return rows->bytes.error = source->read(source->user, begin, to, bytes);
    }
    memcpy(to, source->memory + begin, bytes);
    return DCZ_OK;
  }
  if (error != DCZ_OK) return error;
  if (bytes > 0) memset(to, 0, bytes); /* a row without elements may have no memory */
  DCZ_WALK(rows, column, symbol, {
    if (size == 1) {
      to[column] = (uint8_t)symbol;
    } else {
      memcpy(to + column * size, rows->codebook + symbol * size, size);
    }
  })
  return dcz_row_end(rows);
}
