/* Bytes of a source from front to back, and bits of them. Every length is checked before it is believed.
 *
 * The first error of a cursor stays. From then on it gives zeros, so that its user may ask once, at the end of a part.
 */
#ifndef DCZ_CURSOR_H
#define DCZ_CURSOR_H

#include "../dcz.h"

/* The bytes that a cursor reads at once through a callback. */
#ifndef DCZ_CURSOR_BYTES
#define DCZ_CURSOR_BYTES 64
#endif

typedef struct {
  const dcz_source *source;
  uint32_t at, end;            /* in the source: of the next byte to load, and behind the last one */
  const uint8_t *next, *limit; /* the loaded bytes */
  dcz_error error;
  uint8_t buffer[DCZ_CURSOR_BYTES];
} dcz_cursor;

/* Of the bytes from `at` to `end`, which lie within the source. */
void dcz_cursor_open(dcz_cursor *cursor, const dcz_source *source, uint32_t at, uint32_t end);

/* Loads bytes if none are left. Gives whether there is one; if not, the cursor has an error. */
int dcz_cursor_fill(dcz_cursor *cursor);

void dcz_cursor_skip(dcz_cursor *cursor, uint32_t count);
void dcz_cursor_take(dcz_cursor *cursor, uint8_t *to, uint32_t count);
uint64_t dcz_cursor_long_varint(dcz_cursor *cursor);

/* Below 2^32: nothing that a 32-bit machine decodes has more. */
uint32_t dcz_cursor_varint(dcz_cursor *cursor);

static inline uint32_t dcz_cursor_at(const dcz_cursor *cursor) {
  return cursor->at - (uint32_t)(cursor->limit - cursor->next);
}

static inline uint32_t dcz_cursor_left(const dcz_cursor *cursor) {
  return cursor->end - dcz_cursor_at(cursor);
}

static inline uint8_t dcz_cursor_byte(dcz_cursor *cursor) {
  if (cursor->next == cursor->limit && !dcz_cursor_fill(cursor)) return 0;
  return *cursor->next++;
}

static inline dcz_error dcz_cursor_refuse(dcz_cursor *cursor) {
  if (cursor->error == DCZ_OK) cursor->error = DCZ_ERROR_PAYLOAD;
  return cursor->error;
}

/* "Bit streams are filled from the least significant bit of each byte." */
typedef struct {
  dcz_cursor *cursor;
  uint32_t held, count; /* the lowest `count` bits of `held` come next; those above may be set, too */
  uint32_t past;        /* of these, zeros from behind the end */
} dcz_bits;

void dcz_bits_open(dcz_bits *bits, dcz_cursor *cursor);

/* One byte more, a zero behind the end. */
void dcz_bits_slowly(dcz_bits *bits);

/* At least 25 bits. */
static inline void dcz_bits_fill(dcz_bits *bits) {
  dcz_cursor *const cursor = bits->cursor;
  if (cursor->limit - cursor->next >= 4) {
    const uint8_t *const next = cursor->next;
    const uint32_t word = next[0] | (uint32_t)next[1] << 8 | (uint32_t)next[2] << 16 | (uint32_t)next[3] << 24;
    const uint32_t bytes = (32 - bits->count) >> 3;
    if (bytes == 0) return;
    bits->held |= word << bits->count;
    cursor->next += bytes;
    bits->count += 8 * bytes;
    return;
  }
  while (bits->count < 25) dcz_bits_slowly(bits);
}

static inline void dcz_bits_skip(dcz_bits *bits, uint32_t count) {
  bits->held >>= count;
  bits->count -= count;
}

/* At most 24. */
static inline uint32_t dcz_bits_take(dcz_bits *bits, uint32_t count) {
  uint32_t found;
  if (bits->count < count) dcz_bits_fill(bits);
  found = bits->held & ((UINT32_C(1) << count) - 1);
  dcz_bits_skip(bits, count);
  return found;
}

uint64_t dcz_bits_long(dcz_bits *bits, uint32_t count);

/* "v >= 0 in the Elias gamma code of v + 1". */
uint32_t dcz_bits_token(dcz_bits *bits);

/* Checks that the bits taken were there and that those up to the next whole byte are zero. The cursor goes there. */
void dcz_bits_end(dcz_bits *bits);

#endif
