/* The container: index, names, metadata, checksums. Comments in quotes are docs/format.md. */
#include "dcz.h"

#include <stddef.h>
#include <string.h>

enum { MOST_INDEX_BYTES = 100000000, MOST_ENTRIES = 1 << 20, MOST_AXES = 32, CHECKSUM_BYTES = 4 };

/* Of an element of each dtype. */
static const uint8_t item_bits[DCZ_DTYPES] = {64, 32, 16,  16, 8, 8, 64, 32, 16, 8, 64, 32, 16, 8,
                                              8,  64, 128, 32, 8, 8, 8,  6,  6,  4, 4,  4,  2,  2};

/* Bytes. */

static const uint8_t zeros[4];

void dcz_cursor_set(dcz_cursor *cursor, uint32_t begin, uint32_t end) {
  cursor->at = begin;
  cursor->end = end;
  cursor->behind = 0;
  cursor->now = cursor->stop = zeros;
}

void dcz_cursor_more(dcz_cursor *cursor) {
  const dcz_source *const source = cursor->source;
  uint32_t length = cursor->end - cursor->at;
  if (length > 0 && cursor->error == DCZ_OK) {
    if (source->memory != NULL) {
      cursor->now = source->memory + cursor->at;
    } else {
      if (length > DCZ_BUFFER) length = DCZ_BUFFER;
      cursor->now = cursor->buffer;
      cursor->error = source->read(source->user, cursor->at, cursor->buffer, length);
    }
    if (cursor->error == DCZ_OK) {
      cursor->stop = cursor->now + length;
      cursor->at += length;
      return;
    }
  }
  cursor->now = zeros;
  cursor->stop = zeros + sizeof zeros;
  if (cursor->behind < 16) cursor->behind += sizeof zeros;
}

uint32_t dcz_cursor_left(const dcz_cursor *cursor) {
  return cursor->end - cursor->at + (uint32_t)(cursor->stop - cursor->now);
}

void dcz_cursor_refuse(dcz_cursor *cursor, int wrong) {
  if (wrong && cursor->error == DCZ_OK) cursor->error = cursor->flaw;
}

uint8_t dcz_cursor_byte(dcz_cursor *cursor) {
  if (cursor->now == cursor->stop) dcz_cursor_more(cursor);
  return *cursor->now++;
}

/* "It has at most nine bytes (values below 2^63) and no needless ones." */
static uint64_t varint(dcz_cursor *cursor) {
  uint64_t value = 0;
  uint32_t shift = 0;
  uint8_t byte;
  do {
    byte = dcz_cursor_byte(cursor);
    value |= (uint64_t)(byte & 0x7f) << shift;
    shift += 7;
  } while (byte >= 0x80 && shift < 63);
  dcz_cursor_refuse(cursor, byte >= 0x80 || (byte == 0 && shift > 7));
  return value;
}

uint32_t dcz_cursor_number(dcz_cursor *cursor) {
  const uint64_t value = varint(cursor);
  dcz_cursor_refuse(cursor, value > 0xffffffff);
  return cursor->error != DCZ_OK ? 0 : (uint32_t)value;
}

static uint32_t fixed32(dcz_cursor *cursor) {
  uint32_t value = 0, i;
  for (i = 0; i < 32; i += 8) value |= (uint32_t)dcz_cursor_byte(cursor) << i;
  return value;
}

/* A number of bytes that come next: none if fewer are left. */
static uint32_t length_of(dcz_cursor *cursor) {
  const uint32_t length = dcz_cursor_number(cursor);
  const int wrong = cursor->behind > 0 || length > dcz_cursor_left(cursor);
  dcz_cursor_refuse(cursor, wrong);
  return wrong ? 0 : length;
}

uint32_t dcz_crc(uint32_t start, const uint8_t *bytes, uint32_t length) {
  static const uint32_t of_digit[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                        0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
  uint32_t crc = ~start;
  for (; length > 0; --length) {
    crc ^= *bytes++;
    crc = crc >> 4 ^ of_digit[crc & 15];
    crc = crc >> 4 ^ of_digit[crc & 15];
  }
  return ~crc;
}

/* Passes the bytes up to the cursor's end; their checksum. */
static uint32_t crc_of(dcz_cursor *cursor) {
  uint32_t crc = 0;
  while (dcz_cursor_left(cursor) > 0 && cursor->error == DCZ_OK) {
    dcz_cursor_more(cursor);
    if (cursor->behind > 0) break;
    crc = dcz_crc(crc, cursor->now, (uint32_t)(cursor->stop - cursor->now));
    cursor->now = cursor->stop;
  }
  return crc;
}

/* Text: "UTF-8 bytes". */

typedef struct {
  uint8_t left, low, high; /* bytes that the character still takes; bounds of the next one */
} utf8;

static int utf8_allows(utf8 *text, uint8_t byte) {
  if (text->left > 0) {
    const int allowed = byte >= text->low && byte <= text->high;
    --text->left;
    text->low = 0x80;
    text->high = 0xbf;
    return allowed;
  }
  if (byte < 0x80) return 1;
  text->left = (uint8_t)(1 + (byte >= 0xe0) + (byte >= 0xf0));
  text->low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
  text->high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
  return byte >= 0xc2 && byte <= 0xf4;
}

/* Passes the text of a metadata entry; it must be above the one at `previous`, if there is one. */
static void pass_text(dcz_cursor *cursor, uint32_t length, dcz_cursor *previous) {
  utf8 text = {0, 0, 0};
  int above = previous == NULL;
  for (; length > 0; --length) {
    const uint8_t byte = dcz_cursor_byte(cursor);
    dcz_cursor_refuse(cursor, !utf8_allows(&text, byte));
    if (above) continue;
    if (dcz_cursor_left(previous) > 0) {
      const uint8_t other = dcz_cursor_byte(previous);
      if (cursor->error == DCZ_OK) cursor->error = previous->error;
      dcz_cursor_refuse(cursor, byte < other);
      above = byte > other;
    } else {
      above = 1;
    }
  }
  dcz_cursor_refuse(cursor, text.left > 0 || !above);
}

/* A cursor with its buffer. */
typedef struct {
  dcz_cursor cursor;
  uint8_t buffer[DCZ_BUFFER];
} reader;

static void read_from(reader *from, const dcz_source *source, uint32_t begin, uint32_t end) {
  from->cursor.source = source;
  from->cursor.buffer = from->buffer;
  from->cursor.flaw = DCZ_ERROR_INDEX;
  from->cursor.error = DCZ_OK;
  dcz_cursor_set(&from->cursor, begin, end);
}

static uint32_t end_of_index(const dcz_file *file) { return file->payloads - CHECKSUM_BYTES; }

/* Metadata: "keys in strictly ascending order of their bytes". */
static void pass_metadata(const dcz_file *file, dcz_cursor *cursor) {
  reader previous;
  uint32_t begin = 0, end = 0, count = dcz_cursor_number(cursor);
  dcz_cursor_refuse(cursor, count > MOST_ENTRIES);
  for (; count > 0 && cursor->error == DCZ_OK; --count) {
    const uint32_t length = length_of(cursor);
    const uint32_t at = end_of_index(file) - dcz_cursor_left(cursor);
    read_from(&previous, &file->source, begin, end);
    pass_text(cursor, length, begin > 0 ? &previous.cursor : NULL);
    begin = at;
    end = at + length;
    pass_text(cursor, length_of(cursor), NULL);
  }
}

/* The tensors of the index, one after the other. */
typedef struct {
  reader from;
  uint32_t number;       /* of the tensor that comes next */
  uint32_t payload;      /* offset of the payload that comes next */
  uint32_t length;       /* of the last name */
  uint32_t shared, rest; /* of the last name, both together its length */
} entries;

static void begin_entries(entries *all, const dcz_file *file) {
  read_from(&all->from, &file->source, file->entries, end_of_index(file));
  all->number = all->length = 0;
  all->payload = file->payloads;
}

/* Begins a tensor, up to the rest of its name, which the caller passes. */
static void begin_entry(entries *all) {
  dcz_cursor *const cursor = &all->from.cursor;
  all->shared = dcz_cursor_number(cursor);
  dcz_cursor_refuse(cursor, all->shared > all->length);
  all->rest = length_of(cursor);
  all->length = all->shared + all->rest;
  ++all->number;
}

static void skip(dcz_cursor *cursor, uint32_t length) {
  while (length > 0) {
    uint32_t some;
    if (cursor->now == cursor->stop) dcz_cursor_more(cursor);
    some = (uint32_t)(cursor->stop - cursor->now);
    if (some > length) some = length;
    cursor->now += some;
    length -= some;
  }
}

/* A product of axes that may exceed 64 bits; from 2^67 on `high` is 8. */
typedef struct {
  uint64_t low;
  uint32_t high;
} product;

static void multiply(product *by, uint64_t factor) {
  product twice = *by, sum = {0, 0};
  for (; factor > 0; factor >>= 1) {
    if (factor & 1) {
      sum.low += twice.low;
      sum.high += twice.high + (sum.low < twice.low);
      if (sum.high > 7) sum.high = 8;
    }
    twice.high = twice.high << 1 | (uint32_t)(twice.low >> 63);
    twice.low <<= 1;
    if (twice.high > 7) twice.high = 8;
  }
  *by = sum;
}

/* The shape, and what follows from it. A tensor that is too large here gets the size 0. */
static void read_shape(dcz_cursor *cursor, dcz_tensor *tensor) {
  const uint32_t bits = item_bits[tensor->dtype];
  const int is_row = bits < 8 || bits > 64;
  product of_bits = {1, 0}, of_cols = {1, 0};
  uint64_t rows = 1;
  uint32_t i;
  int empty = 0;
  const uint32_t axes = dcz_cursor_number(cursor);
  dcz_cursor_refuse(cursor, axes > MOST_AXES);
  of_bits.low = bits;
  tensor->ndim = (uint8_t)axes;
  for (i = 0; i < DCZ_AXES; ++i) tensor->shape[i] = 1;
  for (i = 0; i < axes && cursor->error == DCZ_OK; ++i) {
    const uint64_t axis = varint(cursor);
    if (i < DCZ_AXES) tensor->shape[i] = (uint32_t)axis;
    if (i == 0 && axes > 1 && !is_row) {
      rows = axis;
    } else if (axis == 0) {
      empty = 1;
    } else {
      multiply(&of_cols, axis);
    }
    if (axis > 0) multiply(&of_bits, axis);
    empty |= is_row && axis == 0;
  }
  /* "a shape whose bytes, axes of length 0 counted as 1, do not fit 2^63" */
  dcz_cursor_refuse(cursor, of_bits.high > 3 || (of_bits.high == 3 && of_bits.low > ~(uint64_t)7));
  tensor->size = (uint8_t)(bits < 8 ? 1 : bits > 64 ? 8 : bits / 8);
  if (of_bits.high > 0 || of_bits.low > (uint64_t)0xffffffff * 8) tensor->size = 0;
  tensor->rows = (uint32_t)rows;
  tensor->cols = (uint32_t)(is_row ? (of_bits.low + 7) >> (bits < 8 ? 3 : 6) : of_cols.low);
  if (empty) tensor->cols = 0;
}

/* Ends a tensor: what follows its name. That of an alias is its target's number, in `offset`. */
static void end_entry(entries *all, dcz_tensor *tensor) {
  dcz_cursor *const cursor = &all->from.cursor;
  tensor->coder = dcz_cursor_byte(cursor);
  if (tensor->coder == DCZ_ALIAS) {
    tensor->offset = dcz_cursor_number(cursor);
    dcz_cursor_refuse(cursor, cursor->behind > 0);
    return;
  }
  tensor->dtype = dcz_cursor_byte(cursor);
  if ((tensor->coder >= DCZ_CODERS || tensor->dtype >= DCZ_DTYPES) && cursor->error == DCZ_OK) {
    cursor->error = DCZ_ERROR_VERSION;
  }
  if (cursor->error != DCZ_OK) return;
  read_shape(cursor, tensor);
  tensor->offset = all->payload;
  tensor->length = dcz_cursor_number(cursor);
  tensor->checksum = fixed32(cursor);
  dcz_cursor_refuse(cursor, cursor->behind > 0);
  if (tensor->length > all->from.cursor.source->size - all->payload && cursor->error == DCZ_OK) {
    cursor->error = DCZ_ERROR_TRUNCATED;
  }
  all->payload += tensor->length;
}

/* The length of a text that ends with a zero. */
static const uint32_t TO_ZERO = 0xffffffff;

static int ends(const char *text, uint32_t at, uint32_t length) {
  return length == TO_ZERO ? text[at] == 0 : at == length;
}

/* Looks among the first `below` tensors for a name. Its number; `below` if there is none. */
static uint32_t number_of(const dcz_file *file, const char *name, uint32_t length, uint32_t below,
                          entries *all, dcz_tensor *tensor) {
  dcz_cursor *const cursor = &all->from.cursor;
  uint32_t same = 0; /* bytes that the names have in common, from their start */
  begin_entries(all, file);
  while (all->number < below && cursor->error == DCZ_OK) {
    begin_entry(all);
    if (all->shared <= same) {
      uint32_t left = all->rest;
      for (same = all->shared; left > 0 && !ends(name, same, length); --left, ++same) {
        if (dcz_cursor_byte(cursor) != (uint8_t)name[same]) {
          --left;
          break;
        }
      }
      skip(cursor, left);
    } else {
      skip(cursor, all->rest);
    }
    end_entry(all, tensor);
    if (same == all->length && ends(name, same, length)) return all->number - 1;
  }
  return below;
}

/* Goes to a tensor by its number. */
static dcz_error go_to(const dcz_file *file, uint32_t number, entries *all, dcz_tensor *tensor) {
  begin_entries(all, file);
  do {
    begin_entry(all);
    skip(&all->from.cursor, all->rest);
    end_entry(all, tensor);
  } while (all->number <= number && all->from.cursor.error == DCZ_OK);
  return all->from.cursor.error;
}

static dcz_error resolve(const dcz_file *file, entries *all, dcz_tensor *tensor) {
  dcz_error error = all->from.cursor.error;
  if (error == DCZ_OK && tensor->coder == DCZ_ALIAS)
    error = go_to(file, tensor->offset, all, tensor);
  return error != DCZ_OK ? error : tensor->size == 0 ? DCZ_ERROR_SIZE : DCZ_OK;
}

dcz_error dcz_find(const dcz_file *file, const char *name, dcz_tensor *tensor) {
  entries all;
  const uint32_t count = file->tensors;
  const uint32_t number = number_of(file, name, TO_ZERO, count, &all, tensor);
  if (number == count && all.from.cursor.error == DCZ_OK) return DCZ_ERROR_NOT_FOUND;
  return resolve(file, &all, tensor);
}

dcz_error dcz_at(const dcz_file *file, uint32_t number, dcz_tensor *tensor) {
  entries all;
  if (number >= file->tensors) return DCZ_ERROR_NOT_FOUND;
  go_to(file, number, &all, tensor);
  return resolve(file, &all, tensor);
}

/* Passes the rest of a name, and keeps it where it belongs in `to`, as far as that goes. */
static void take_name(entries *all, char *to, uint32_t room) {
  uint32_t i;
  for (i = all->shared; i < all->length; ++i) {
    const uint8_t byte = dcz_cursor_byte(&all->from.cursor);
    if (i < room) to[i] = (char)byte;
  }
}

dcz_error dcz_name(const dcz_file *file, uint32_t number, char *to, uint32_t room) {
  entries all;
  dcz_tensor tensor;
  if (number >= file->tensors) return DCZ_ERROR_NOT_FOUND;
  begin_entries(&all, file);
  do {
    begin_entry(&all);
    take_name(&all, to, room);
    end_entry(&all, &tensor);
  } while (all.number <= number && all.from.cursor.error == DCZ_OK);
  if (all.from.cursor.error != DCZ_OK) return all.from.cursor.error;
  if (all.length >= room) return DCZ_ERROR_SIZE;
  to[all.length] = 0;
  return DCZ_OK;
}

#if DCZ_NAME > 0
/* "Names are unique and valid UTF-8." */
static dcz_error check_name(const dcz_file *file, const entries *all, const char *name) {
  entries before;
  dcz_tensor tensor;
  utf8 text = {0, 0, 0};
  const uint32_t length = all->length < DCZ_NAME ? all->length : DCZ_NAME;
  uint32_t i;
  for (i = 0; i < length; ++i) {
    if (!utf8_allows(&text, (uint8_t)name[i])) return DCZ_ERROR_INDEX;
  }
  if (all->length > DCZ_NAME) return DCZ_OK;
  if (text.left > 0) return DCZ_ERROR_INDEX;
  i = number_of(file, name, length, all->number - 1, &before, &tensor);
  if (before.from.cursor.error != DCZ_OK) return before.from.cursor.error;
  return i < all->number - 1 ? DCZ_ERROR_INDEX : DCZ_OK;
}
#endif

/* "an earlier tensor which is not an alias" */
static dcz_error check_alias(const dcz_file *file, uint32_t number, uint32_t target) {
  entries before;
  dcz_tensor tensor;
  dcz_error error;
  if (target >= number) return DCZ_ERROR_INDEX;
  error = go_to(file, target, &before, &tensor);
  return error == DCZ_OK && tensor.coder == DCZ_ALIAS ? DCZ_ERROR_INDEX : error;
}

static dcz_error check_entries(const dcz_file *file) {
  entries all;
  dcz_tensor tensor;
  uint32_t named = 0;
#if DCZ_NAME > 0
  char name[DCZ_NAME];
#endif
  dcz_cursor *const cursor = &all.from.cursor;
  begin_entries(&all, file);
  while (all.number < file->tensors && cursor->error == DCZ_OK) {
    begin_entry(&all);
    /* "Written in full, they take at most 10^8 bytes together." */
    named += all.length;
    dcz_cursor_refuse(cursor, named > MOST_INDEX_BYTES);
#if DCZ_NAME > 0
    take_name(&all, name, sizeof name);
    if (cursor->error == DCZ_OK) cursor->error = check_name(file, &all, name);
#else
    skip(cursor, all.rest);
#endif
    end_entry(&all, &tensor);
    if (cursor->error == DCZ_OK && tensor.coder == DCZ_ALIAS) {
      cursor->error = check_alias(file, all.number - 1, tensor.offset);
    }
  }
  dcz_cursor_refuse(cursor, dcz_cursor_left(cursor) > 0 || all.payload != file->source.size);
  return cursor->error;
}

dcz_error dcz_open(dcz_file *file, const dcz_source *source) {
  static const uint8_t magic[4] = {0x89, 'D', 'C', 'Z'};
  reader from;
  dcz_cursor *const cursor = &from.cursor;
  uint32_t i, length;
  file->source = *source;
  read_from(&from, &file->source, 0, source->size);
  for (i = 0; i < sizeof magic; ++i) {
    if (dcz_cursor_byte(cursor) != magic[i]) {
      return cursor->error != DCZ_OK ? cursor->error : DCZ_ERROR_MAGIC;
    }
  }
  if (dcz_cursor_byte(cursor) != 1 && cursor->behind == 0) return DCZ_ERROR_VERSION;
  length = dcz_cursor_number(cursor);
  dcz_cursor_refuse(cursor, length > MOST_INDEX_BYTES);
  if (cursor->error != DCZ_OK && cursor->error != DCZ_ERROR_INDEX) return cursor->error;
  if (cursor->behind > 0) return DCZ_ERROR_TRUNCATED;
  if (cursor->error != DCZ_OK) return cursor->error;
  if (dcz_cursor_left(cursor) < length + CHECKSUM_BYTES) return DCZ_ERROR_TRUNCATED;
  file->index = source->size - dcz_cursor_left(cursor);
  file->payloads = file->index + length + CHECKSUM_BYTES;

  dcz_cursor_set(cursor, 0, end_of_index(file));
  length = crc_of(cursor);
  dcz_cursor_set(cursor, end_of_index(file), file->payloads);
  if (fixed32(cursor) != length && cursor->error == DCZ_OK) return DCZ_ERROR_CHECKSUM;

  dcz_cursor_set(cursor, file->index, end_of_index(file));
  pass_metadata(file, cursor);
  file->tensors = dcz_cursor_number(cursor);
  dcz_cursor_refuse(cursor, cursor->behind > 0 || file->tensors > MOST_ENTRIES);
  if (cursor->error != DCZ_OK) return cursor->error;
  if (file->tensors > DCZ_TENSORS) return DCZ_ERROR_SIZE;
  file->entries = end_of_index(file) - dcz_cursor_left(cursor);
  return check_entries(file);
}

dcz_error dcz_metadata(const dcz_file *file, const char *key, char *to, uint32_t room) {
  reader from;
  dcz_cursor *const cursor = &from.cursor;
  uint32_t count, i;
  read_from(&from, &file->source, file->index, end_of_index(file));
  for (count = dcz_cursor_number(cursor); count > 0 && cursor->error == DCZ_OK; --count) {
    int found = 1;
    uint32_t length = length_of(cursor);
    for (i = 0; i < length; ++i) {
      const uint8_t byte = dcz_cursor_byte(cursor);
      found = found && byte != 0 && byte == (uint8_t)key[i];
    }
    found = found && key[length] == 0;
    length = length_of(cursor);
    if (!found) {
      skip(cursor, length);
      continue;
    }
    if (length >= room) return DCZ_ERROR_SIZE;
    for (i = 0; i < length; ++i) to[i] = (char)dcz_cursor_byte(cursor);
    to[length] = 0;
    return cursor->error;
  }
  return cursor->error != DCZ_OK ? cursor->error : DCZ_ERROR_NOT_FOUND;
}

dcz_error dcz_check(const dcz_file *file, const dcz_tensor *tensor) {
  reader from;
  uint32_t crc;
  read_from(&from, &file->source, tensor->offset, tensor->offset + tensor->length);
  crc = crc_of(&from.cursor);
  if (from.cursor.error != DCZ_OK) return from.cursor.error;
  return crc == tensor->checksum ? DCZ_OK : DCZ_ERROR_CHECKSUM;
}
