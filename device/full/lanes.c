/* Huffman codes in 64 lanes, a round at a time. docs/format.md, "Lanes". */
#include "block.h"

#define SEGMENT_SYMBOLS (UINT32_C(1) << 20)

static int is_narrow(const dcz_block *block) { return block->layout == 3; }

static uint32_t turn_of(const dcz_block *block) { return is_narrow(block) ? 8 : 4; }

/* "In narrow lanes a code has at most 7 bits." The table then has all of them. */
static void begin_narrow(dcz_block *block, dcz_cursor *cursor) {
  const dcz_code *const code = &block->code;
  uint32_t length, i, at;
  if (code->start[8] != dcz_code_size(code)) {
    dcz_cursor_refuse(cursor);
    return;
  }
  for (length = 1; length <= 7; ++length) {
    for (i = code->start[length]; i < code->start[length + 1]; ++i) {
      at = dcz_reversed(code->first[length] + i - code->start[length], length);
      for (; at < 128; at += UINT32_C(1) << length) block->quick[at] = (uint32_t)block->symbols[i] << 8 | length;
    }
  }
}

/* "In wide lanes a code has at most 14 bits. All codes that begin with the same 8 bits have the same length": so these
 * bits give the length, and further ones the symbol among those of the prefix. */
static void begin_wide(dcz_block *block, dcz_cursor *cursor) {
  const dcz_code *const code = &block->code;
  uint32_t length, i, j, at;
  if (code->start[15] != dcz_code_size(code)) dcz_cursor_refuse(cursor);
  for (length = 9; length <= 14; ++length) {
    const uint32_t count = code->start[length + 1] - code->start[length];
    if ((count & ((UINT32_C(1) << (length - 8)) - 1)) != 0) dcz_cursor_refuse(cursor);
  }
  if (cursor->error != DCZ_OK) return;
  for (length = 1; length <= 14; ++length) {
    const uint32_t more = length > 8 ? length - 8 : 0, prefix = length - more;
    for (i = code->start[length]; i < code->start[length + 1]; i += UINT32_C(1) << more) {
      const uint32_t entry = length | i << 8 | ((UINT32_C(1) << more) - 1) << 16;
      at = dcz_reversed((code->first[length] + i - code->start[length]) >> more, prefix);
      for (; at < 256; at += UINT32_C(1) << prefix) block->quick[at] = entry;
      for (j = 0; j < UINT32_C(1) << more; ++j) {
        const uint32_t other = dcz_reversed(j, more);
        if (j < other) {
          const uint16_t symbol = block->symbols[i + j];
          block->symbols[i + j] = block->symbols[i + other];
          block->symbols[i + other] = symbol;
        }
      }
    }
  }
}

/* The number of symbols before the next exception, which is `*rare_index` among the rare ones. Without a division of 64
 * bits, which small machines lack. */
static uint64_t take_exception(dcz_cursor *cursor, uint32_t rare, uint32_t *rare_index) {
  const uint64_t value = dcz_cursor_long_varint(cursor);
  uint64_t quotient = 0;
  uint32_t rest = 0, shift = 64;
  while (shift > 0) {
    shift -= 16;
    rest = rest << 16 | ((uint32_t)(value >> shift) & 0xffff);
    quotient = quotient << 16 | rest / rare;
    rest %= rare;
  }
  *rare_index = rest;
  return quotient;
}

static void open_exceptions(dcz_block *block, dcz_cursor *cursor, uint32_t count) {
  dcz_lanes *const lanes = &block->lanes;
  const uint32_t rare = dcz_cursor_varint(cursor);
  uint32_t i, j, next = 0;
  if (rare == 0) return;
  if (rare > 256) dcz_cursor_refuse(cursor);
  for (i = 0; i < rare && cursor->error == DCZ_OK; ++i) {
    lanes->rare[i] = dcz_cursor_byte(cursor);
    if (lanes->rare[i] >= block->alphabet || (i > 0 && lanes->rare[i] <= lanes->rare[i - 1])) dcz_cursor_refuse(cursor);
    for (j = 0; j < dcz_code_size(&block->code); ++j) {
      if (block->symbols[j] == lanes->rare[i]) dcz_cursor_refuse(cursor);
    }
  }
  lanes->rare_size = (uint16_t)rare;
  lanes->exceptions_left = dcz_cursor_varint(cursor);
  if (lanes->exceptions_left > count || lanes->exceptions_left > dcz_cursor_left(cursor)) dcz_cursor_refuse(cursor);
  dcz_cursor_open(&lanes->exceptions, cursor->source, dcz_cursor_at(cursor), cursor->end);
  for (i = 0; i < lanes->exceptions_left && cursor->error == DCZ_OK; ++i) {
    uint32_t index;
    const uint64_t distance = take_exception(cursor, rare, &index);
    if (distance >= count - next) {
      dcz_cursor_refuse(cursor);
      return;
    }
    next += (uint32_t)distance + 1;
  }
}

/* The next exception, `base` symbols behind the beginning of the round or later. */
static void next_exception(dcz_lanes *lanes, uint32_t base) {
  uint32_t index = 0;
  if (lanes->exceptions_left == 0) return;
  lanes->distance = base + (uint32_t)take_exception(&lanes->exceptions, lanes->rare_size, &index);
  lanes->exception = lanes->rare[index];
}

dcz_error dcz_lanes_open(dcz_block *block, dcz_cursor *cursor, uint32_t count) {
  dcz_lanes *const lanes = &block->lanes;
  const uint32_t round = turn_of(block) * DCZ_LANES;
  const uint32_t rounds = count / round + (count % round != 0);
  uint32_t segments, total = 0, i;
  dcz_code_read(&block->code, cursor, block->alphabet, 256);
  if (cursor->error == DCZ_OK && dcz_code_size(&block->code) < 2) dcz_cursor_refuse(cursor);
  if (cursor->error != DCZ_OK) return cursor->error;
  lanes->exceptions_left = lanes->distance = 0;
  dcz_cursor_open(&lanes->exceptions, cursor->source, 0, 0);
  if (is_narrow(block)) {
    begin_narrow(block, cursor);
    if (cursor->error == DCZ_OK) open_exceptions(block, cursor, count);
  } else {
    begin_wide(block, cursor);
  }
  segments = dcz_cursor_varint(cursor);
  if (cursor->error != DCZ_OK) return cursor->error;
  if (segments < 1 || segments > rounds || segments > dcz_cursor_left(cursor)) return dcz_cursor_refuse(cursor);
  lanes->short_rounds = rounds / segments;
  lanes->longer = rounds % segments;
  lanes->segments = segments;
  if (count > SEGMENT_SYMBOLS && lanes->short_rounds + (lanes->longer > 0) > SEGMENT_SYMBOLS / round) {
    return dcz_cursor_refuse(cursor);
  }
  dcz_cursor_open(&lanes->lengths, cursor->source, dcz_cursor_at(cursor), cursor->end);
  for (i = 0; i < segments; ++i) {
    const uint32_t length = dcz_cursor_varint(cursor);
    if (cursor->error != DCZ_OK || length > dcz_cursor_left(cursor) - total) return dcz_cursor_refuse(cursor);
    total += length;
  }
  if (total > dcz_cursor_left(cursor) || count / 8 > total) return dcz_cursor_refuse(cursor);
  block->after = dcz_cursor_at(cursor) + total;
  dcz_cursor_open(cursor, cursor->source, dcz_cursor_at(cursor), block->after);
  lanes->rounds = 0;
  lanes->segment_end = dcz_cursor_at(cursor);
  next_exception(lanes, 0);
  return cursor->error;
}

/* "The segment's bytes are used up, and the rest of the windows is zero." */
static void end_segment(dcz_block *block) {
  const dcz_lanes *const lanes = &block->lanes;
  uint64_t left = 0;
  uint32_t i;
  for (i = 0; i < DCZ_LANES; ++i) left |= lanes->unused[i];
  if (left != 0 || dcz_cursor_at(&block->stream.cursor) != lanes->segment_end) dcz_cursor_refuse(&block->stream.cursor);
}

static void begin_segment(dcz_block *block) {
  dcz_lanes *const lanes = &block->lanes;
  dcz_cursor *const cursor = &block->stream.cursor;
  uint32_t i, j;
  lanes->segment_end += dcz_cursor_varint(&lanes->lengths);
  if (lanes->segments == 0 || lanes->lengths.error != DCZ_OK) dcz_cursor_refuse(cursor);
  --lanes->segments;
  lanes->rounds = lanes->short_rounds + (lanes->longer > 0);
  if (lanes->longer > 0) --lanes->longer;
  for (i = 0; i < DCZ_LANES; ++i) {
    lanes->unused[i] = 0;
    lanes->used[i] = 0;
    for (j = 0; j < 8; ++j) lanes->unused[i] |= (uint64_t)dcz_cursor_byte(cursor) << (8 * j);
  }
}

static inline uint64_t load64(const uint8_t *at) {
  return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24 |
         (uint64_t)at[4] << 32 | (uint64_t)at[5] << 40 | (uint64_t)at[6] << 48 | (uint64_t)at[7] << 56;
}

/* "The first floor(c / 8) bytes leave the window, and as many new ones enter behind." c is at most 63. */
static inline uint64_t slide(dcz_cursor *cursor, uint64_t unused, uint32_t used) {
  if (cursor->limit - cursor->next >= 8) {
    const uint64_t fresh = load64(cursor->next) & ~(~UINT64_C(0) << (used & 56));
    cursor->next += used >> 3;
    return unused | fresh << ((0 - used) & 63);
  }
  for (; used >= 8; used -= 8) unused |= (uint64_t)dcz_cursor_byte(cursor) << (64 - used);
  return unused;
}

#define NARROW_SYMBOL(i)                 \
  do {                                   \
    const uint32_t one = quick[bits & 127]; \
    out[i] = (uint8_t)(one >> 8);        \
    bits >>= one & 63;                   \
    sum += one & 63;                     \
  } while (0)

#define WIDE_SYMBOL(i)                                                                \
  do {                                                                                \
    const uint32_t one = quick[bits & 255];                                           \
    out[i] = (uint8_t)symbols[(one >> 8 & 255) + ((uint32_t)(bits >> 8) & one >> 16)]; \
    bits >>= one & 63;                                                                \
    sum += one & 63;                                                                  \
  } while (0)

static void narrow_round(dcz_block *block, uint32_t count) {
  dcz_cursor *const cursor = &block->stream.cursor;
  dcz_lanes *const lanes = &block->lanes;
  const uint32_t *const quick = block->quick;
  uint8_t *out = block->out;
  uint32_t lane;
  for (lane = 0; lane < DCZ_LANES; ++lane) {
    const uint32_t used = lanes->used[lane];
    uint64_t bits = slide(cursor, lanes->unused[lane], used);
    uint32_t sum = used & 7, i;
    if (count >= 8) {
      NARROW_SYMBOL(0);
      NARROW_SYMBOL(1);
      NARROW_SYMBOL(2);
      NARROW_SYMBOL(3);
      NARROW_SYMBOL(4);
      NARROW_SYMBOL(5);
      NARROW_SYMBOL(6);
      NARROW_SYMBOL(7);
      out += 8;
      count -= 8;
    } else {
      for (i = 0; i < count; ++i) NARROW_SYMBOL(i);
      count = 0;
    }
    lanes->unused[lane] = bits;
    lanes->used[lane] = (uint8_t)sum;
  }
}

static void wide_round(dcz_block *block, uint32_t count) {
  dcz_cursor *const cursor = &block->stream.cursor;
  dcz_lanes *const lanes = &block->lanes;
  const uint32_t *const quick = block->quick;
  const uint16_t *const symbols = block->symbols;
  uint8_t *out = block->out;
  uint32_t lane;
  for (lane = 0; lane < DCZ_LANES; ++lane) {
    const uint32_t used = lanes->used[lane];
    uint64_t bits = slide(cursor, lanes->unused[lane], used);
    uint32_t sum = used & 7, i;
    if (count >= 4) {
      WIDE_SYMBOL(0);
      WIDE_SYMBOL(1);
      WIDE_SYMBOL(2);
      WIDE_SYMBOL(3);
      out += 4;
      count -= 4;
    } else {
      for (i = 0; i < count; ++i) WIDE_SYMBOL(i);
      count = 0;
    }
    lanes->unused[lane] = bits;
    lanes->used[lane] = (uint8_t)sum;
  }
}

void dcz_lanes_round(dcz_block *block, uint32_t count) {
  dcz_lanes *const lanes = &block->lanes;
  if (lanes->rounds == 0) begin_segment(block);
  --lanes->rounds;
  if (is_narrow(block)) {
    narrow_round(block, count);
  } else {
    wide_round(block, count);
  }
  if (lanes->rounds == 0) end_segment(block);
  while (lanes->exceptions_left > 0 && lanes->distance < count) {
    block->out[lanes->distance] = lanes->exception;
    --lanes->exceptions_left;
    next_exception(lanes, lanes->distance + 1);
  }
  lanes->distance -= count;
  if (lanes->exceptions.error != DCZ_OK) dcz_cursor_refuse(&block->stream.cursor);
}

dcz_error dcz_lanes_end(dcz_block *block) {
  dcz_lanes *const lanes = &block->lanes;
  if (lanes->rounds != 0 || lanes->segments != 0 || lanes->exceptions_left != 0) return DCZ_ERROR_PAYLOAD;
  return block->stream.cursor.error;
}
