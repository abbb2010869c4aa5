/* Bytes and bits from front to back: all that is not worth a place in a loop. */
#include "cursor.h"

#include <string.h>

void dcz_cursor_open(dcz_cursor *cursor, const dcz_source *source, uint32_t at, uint32_t end) {
  cursor->source = source;
  cursor->at = at;
  cursor->end = end;
  cursor->next = cursor->limit = cursor->buffer;
  cursor->error = DCZ_OK;
}

int dcz_cursor_fill(dcz_cursor *cursor) {
  const dcz_source *const source = cursor->source;
  uint32_t count = cursor->end - cursor->at;
  if (cursor->error != DCZ_OK) return 0;
  if (cursor->next < cursor->limit) return 1;
  if (count == 0) {
    cursor->error = DCZ_ERROR_PAYLOAD;
    return 0;
  }
  if (source->memory != NULL) {
    cursor->next = source->memory + cursor->at;
  } else {
    if (count > DCZ_CURSOR_BYTES) count = DCZ_CURSOR_BYTES;
    cursor->next = cursor->limit = cursor->buffer;
    cursor->error = source->read(source->user, cursor->at, cursor->buffer, count);
    if (cursor->error != DCZ_OK) return 0;
  }
  cursor->limit = cursor->next + count;
  cursor->at += count;
  return 1;
}

void dcz_cursor_skip(dcz_cursor *cursor, uint32_t count) {
  const uint32_t loaded = (uint32_t)(cursor->limit - cursor->next);
  if (count > dcz_cursor_left(cursor)) {
    dcz_cursor_refuse(cursor);
  } else if (count <= loaded) {
    cursor->next += count;
  } else {
    cursor->at += count - loaded;
    cursor->next = cursor->limit;
  }
}

void dcz_cursor_take(dcz_cursor *cursor, uint8_t *to, uint32_t count) {
  while (count > 0 && dcz_cursor_fill(cursor)) {
    const uint32_t loaded = (uint32_t)(cursor->limit - cursor->next);
    const uint32_t part = count < loaded ? count : loaded;
    memcpy(to, cursor->next, part);
    cursor->next += part;
    to += part;
    count -= part;
  }
}

uint64_t dcz_cursor_long_varint(dcz_cursor *cursor) {
  uint64_t value = 0;
  unsigned shift = 0;
  for (; shift < 63; shift += 7) {
    const uint8_t byte = dcz_cursor_byte(cursor);
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      if (byte == 0 && shift > 0) dcz_cursor_refuse(cursor);
      return value;
    }
  }
  dcz_cursor_refuse(cursor);
  return 0;
}

uint32_t dcz_cursor_varint(dcz_cursor *cursor) {
  const uint64_t value = dcz_cursor_long_varint(cursor);
  if (value > UINT32_MAX) dcz_cursor_refuse(cursor);
  return cursor->error == DCZ_OK ? (uint32_t)value : 0;
}

void dcz_bits_open(dcz_bits *bits, dcz_cursor *cursor) {
  bits->cursor = cursor;
  bits->held = bits->count = bits->past = 0;
}

void dcz_bits_slowly(dcz_bits *bits) {
  dcz_cursor *const cursor = bits->cursor;
  if (cursor->next == cursor->limit && cursor->at == cursor->end) {
    bits->past += 8;
  } else {
    bits->held |= (uint32_t)dcz_cursor_byte(cursor) << bits->count;
  }
  bits->count += 8;
}

uint64_t dcz_bits_long(dcz_bits *bits, uint32_t count) {
  uint64_t found = 0;
  uint32_t done = 0;
  while (done < count) {
    const uint32_t part = count - done < 16 ? count - done : 16;
    found |= (uint64_t)dcz_bits_take(bits, part) << done;
    done += part;
  }
  return found;
}

uint32_t dcz_bits_token(dcz_bits *bits) {
  uint32_t zeros = 0, value = 1;
  while (dcz_bits_take(bits, 1) == 0) {
    /* no number in a file exceeds 65,536 */
    if (++zeros > 16) {
      dcz_cursor_refuse(bits->cursor);
      return 0;
    }
  }
  while (zeros-- > 0) value = value << 1 | dcz_bits_take(bits, 1);
  return value - 1;
}

void dcz_bits_end(dcz_bits *bits) {
  dcz_cursor *const cursor = bits->cursor;
  if (cursor->error != DCZ_OK) return;
  if (bits->past > bits->count) {
    dcz_cursor_refuse(cursor);
    return;
  }
  if (dcz_bits_take(bits, (bits->count - bits->past) & 7) != 0) dcz_cursor_refuse(cursor);
  /* whole bytes that were loaded ahead go back */
  dcz_cursor_open(cursor, cursor->source, dcz_cursor_at(cursor) - ((bits->count - bits->past) >> 3), cursor->end);
  bits->held = bits->count = bits->past = 0;
}
