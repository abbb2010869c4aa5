/* The operations of a patch, step by step: docs/format.md, "Patch". */
#include <string.h>

#include "patch_inner.h"

enum { LITERAL, COPY, DIFFERENCE, RECODE, KINDS, KIND_BITS = 2 };

/* options of a difference; the lowest bits are the bytes of an element */
enum { WIDTH = 15, ORDERED = 16, ZEROS = 32, RUNS = 64 };

/* the table of runs lies behind those of the byte planes */
enum { RUN_TABLE = 8, BYTES = 256 };

/* --- bytes in and out ----------------------------------------------------------------------- */

uint32_t dcz_patch_fail(dcz_patch *p, dcz_error error) {
  if (!p->error) p->error = error;
  return 0;
}

static dcz_error read_bytes(const dcz_source *source, uint32_t at, uint8_t *to, uint32_t length) {
  if (!source->memory) return source->read(source->user, at, to, length);
  memcpy(to, source->memory + at, length);
  return DCZ_OK;
}

dcz_error dcz_patch_checksum(const dcz_source *source, uint32_t length, uint32_t *found) {
  uint8_t bytes[DCZ_PATCH_CHUNK];
  uint32_t at = 0, part;
  dcz_error error = DCZ_OK;
  *found = 0;
  for (; at < length && !error; at += part) {
    part = length - at < sizeof bytes ? length - at : (uint32_t)sizeof bytes;
    error = read_bytes(source, at, bytes, part);
    *found = dcz_crc(*found, bytes, part);
  }
  return error;
}

/* The byte at `at`, below `end`, where the bytes that may be read end. */
static uint32_t byte_at(dcz_patch *p, const dcz_source *source, dcz_patch_window *window,
                        uint32_t at, uint32_t end) {
  if (at - window->from >= window->length) {
    window->from = at;
    window->length = end - at < sizeof window->bytes ? end - at : (uint32_t)sizeof window->bytes;
    dcz_patch_fail(p, read_bytes(source, at, window->bytes, window->length));
  }
  return p->error ? 0 : window->bytes[at - window->from];
}

uint32_t dcz_patch_byte(dcz_patch *p) {
  if (p->at.cursor >= p->end) dcz_patch_fail(p, DCZ_ERROR_TRUNCATED);
  return p->error ? 0 : byte_at(p, &p->patch, &p->patch_window, p->at.cursor++, p->end);
}

uint32_t dcz_patch_varint(dcz_patch *p) {
  uint32_t value = 0, shift = 0, byte;
  do {
    byte = dcz_patch_byte(p);
    if (shift == 28 && byte > 15) return dcz_patch_fail(p, DCZ_ERROR_SIZE);
    value |= (byte & 0x7f) << shift;
    shift += 7;
  } while (byte >= 0x80);
  return value;
}

/* Bytes from `at` on are about to be used, while NEW may have overwritten all up to the end of its
 * page. */
static void use_old(dcz_patch *p, uint32_t at) {
  uint32_t behind = (p->at.written / p->page + 1) * p->page;
  if (behind > at && behind - at > p->shift) p->shift = behind - at;
}

uint32_t dcz_patch_old_byte(dcz_patch *p, uint32_t at) {
  if (at >= p->old_size) dcz_patch_fail(p, DCZ_ERROR_RANGE);
  if (p->error) return 0;
  use_old(p, at);
  p->at.old = at + 1;
  return byte_at(p, &p->old, &p->old_window, at, p->old_size);
}

void dcz_patch_put(dcz_patch *p, uint32_t byte) { p->at.out[p->at.held++] = (uint8_t)byte; }

/* --- operations ----------------------------------------------------------------------------- */

/* Takes up to `left` bytes of a source; returns how many. */
static uint32_t take(dcz_patch *p, const dcz_source *source, uint32_t at, uint32_t end) {
  uint32_t length = DCZ_PATCH_CHUNK - (uint32_t)p->at.held;
  if (length > p->at.left) length = p->at.left;
  if (at > end || length > end - at) dcz_patch_fail(p, DCZ_ERROR_RANGE);
  if (p->error) return 0;
  dcz_patch_fail(p, read_bytes(source, at, p->at.out + p->at.held, length));
  p->at.held = (uint8_t)(p->at.held + length);
  p->at.left -= length;
  return length;
}

static void literal(dcz_patch *p) {
  uint32_t length = take(p, &p->patch, p->at.cursor, p->end);
  p->at.cursor += length;
  p->at.old += length;
}

static void copy(dcz_patch *p) {
  use_old(p, p->at.old);
  p->at.old += take(p, &p->old, p->at.old, p->old_size);
}

void dcz_patch_next_run(dcz_patch *p) {
  if (p->at.tables[RUN_TABLE].count > 0 && p->at.changes > 0)
    p->at.run = dcz_patch_number(p, p->at.tables[RUN_TABLE]);
}

void dcz_patch_begin_runs(dcz_patch *p, uint32_t any) {
  uint32_t at = 0;
  p->at.run = 0;
  p->at.changes = any ? dcz_patch_varint(p) : UINT32_MAX;
  if (any) p->at.tables[RUN_TABLE] = dcz_patch_read_table(p, DCZ_FROM_PATCH, &at, BYTES);
}

static void begin_difference(dcz_patch *p) {
  uint32_t at = 0, plane, width;
  p->at.options = (uint8_t)dcz_patch_byte(p);
  width = p->at.options & WIDTH;
  if (width < 1 || width > 8 || p->at.options >= 2 * RUNS) dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
  dcz_patch_begin_runs(p, p->at.options & RUNS);
  for (plane = 0; plane < width && !p->error; ++plane) {
    p->at.tables[plane] = dcz_patch_read_table(p, DCZ_FROM_PATCH, &at, BYTES);
  }
  dcz_patch_next_run(p);
}

/* An integer in the order of the floats, and back. Only the bytes of an element count. */
static uint64_t ordered(uint64_t bits, uint64_t sign) { return bits & sign ? ~bits : bits | sign; }
static uint64_t unordered(uint64_t bits, uint64_t sign) {
  return bits & sign ? bits ^ sign : ~bits;
}

/* One element: the bytes of its step, the most significant first. */
static void difference(dcz_patch *p) {
  uint32_t width = p->at.options & WIDTH, base = p->at.old, i;
  uint64_t bits = 0, step = 0, sign = UINT64_C(1) << (8 * width - 1);
  for (i = 0; i < width; ++i) bits |= (uint64_t)dcz_patch_old_byte(p, base + i) << (8 * i);
  if (bits == 0 && p->at.options & ZEROS) {
    /* it stays */
  } else if (p->at.run > 0) {
    --p->at.run;
  } else if (p->at.changes > 0) {
    for (i = 0; i < width; ++i)
      step = step << 8 | dcz_patch_symbol(p, DCZ_FROM_PATCH, p->at.tables[i]);
    --p->at.changes;
    dcz_patch_next_run(p);
  }
  step = step >> 1 ^ (0 - (step & 1)); /* the steps 0, -1, 1, -2 ... are 0, 1, 2, 3 ... */
  bits = p->at.options & ORDERED ? unordered(ordered(bits, sign) + step, sign) : bits + step;
  for (i = 0; i < width; ++i) dcz_patch_put(p, (uint32_t)(bits >> (8 * i)) & 0xff);
  --p->at.left;
}

static void begin_operation(dcz_patch *p) {
  uint32_t begin = p->at.cursor, head = dcz_patch_varint(p), value;
  p->at.left = head >> KIND_BITS;
  p->at.operation = (uint8_t)(head & (KINDS - 1));
  if (p->at.left == 0) dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
  if (p->error || p->at.operation == LITERAL) return;
  value = dcz_patch_varint(p);
  p->at.old += value >> 1 ^ (0 - (value & 1));
  if (p->at.operation == COPY) return;
  p->at.used = 0;
  memset(p->at.tables, 0, sizeof p->at.tables);
  memset(&p->at.patch_bits, 0, sizeof p->at.patch_bits);
  if (p->at.operation == DIFFERENCE) {
    begin_difference(p);
  } else {
    if (p->at.left > begin - p->first) dcz_patch_fail(p, DCZ_ERROR_RANGE);
    dcz_patch_begin_recode(p, begin - p->at.left);
    p->at.left = 1;
  }
}

static void give_out(dcz_patch *p, dcz_write write, void *user) {
  uint32_t length = p->at.held < DCZ_PATCH_CHUNK ? p->at.held : DCZ_PATCH_CHUNK, i;
  if (length > p->new_size - p->at.written) dcz_patch_fail(p, DCZ_ERROR_RANGE);
  if (p->error) return;
  if (write) dcz_patch_fail(p, write(user, p->at.written, p->at.out, length));
  p->at.checksum = dcz_crc(p->at.checksum, p->at.out, length);
  p->at.written += length;
  p->at.held = (uint8_t)(p->at.held - length);
  for (i = 0; i < p->at.held; ++i) p->at.out[i] = p->at.out[length + i];
}

void dcz_patch_begin(dcz_patch *p) {
  memset(&p->at, 0, sizeof p->at);
  memset(&p->patch_window, 0, sizeof p->patch_window);
  memset(&p->old_window, 0, sizeof p->old_window);
  p->at.cursor = p->first;
  if (p->first == 0) p->at.left = p->new_size; /* NEW as a whole: one literal */
}

void dcz_patch_step(dcz_patch *p, dcz_write write, void *user) {
  static void (*const steps[KINDS])(dcz_patch *) = {literal, copy, difference, dcz_patch_recode};
  uint32_t rest = p->new_size - p->at.written;
  if (p->at.held >= DCZ_PATCH_CHUNK || (p->at.left == 0 && p->at.held == rest)) {
    give_out(p, write, user);
  } else if (p->at.left == 0) {
    begin_operation(p);
  } else {
    steps[p->at.operation](p);
  }
}

int dcz_patch_done(const dcz_patch *p) {
  return p->error || (p->at.written == p->new_size && p->at.left == 0 && p->at.held == 0);
}

dcz_error dcz_patch_finish(dcz_patch *p) {
  if (!p->error && p->at.cursor != p->end) p->error = DCZ_ERROR_PAYLOAD;
  if (!p->error && p->at.checksum != p->new_checksum) p->error = DCZ_ERROR_CHECKSUM;
  return p->error;
}
