/* Huffman codes in 64 lanes, a round at a time. docs/format.md, "Lanes". */
#include "block.h"

#define SEGMENT_SYMBOLS (UINT32_C(1) << 20)

static int is_narrow(const dcz_block *block) { return block->layout == 3; }

static uint32_t turn_of(const dcz_block *block) { return is_narrow(block) ? 8 : 4; }

/* "In narrow lanes a code has at most 7 bits." */
static void check_narrow(const dcz_block *block, dcz_input *input) {
  if (block->table.start[8] != dcz_table_size(&block->table)) dcz_input_refuse(input);
}

/* "In wide lanes a code has at most 14 bits. All codes that begin with the same 8 bits have the
   same length." */
static void check_wide(const dcz_block *block, dcz_input *input) {
  const dcz_table *const table = &block->table;
  uint32_t length;
  if (table->start[15] != dcz_table_size(table)) dcz_input_refuse(input);
  for (length = 9; length <= 14; ++length) {
    const uint32_t count = table->start[length + 1] - table->start[length];
    if ((count & ((UINT32_C(1) << (length - 8)) - 1)) != 0) dcz_input_refuse(input);
  }
}

#ifdef DCZ_ROOMY
/* One look gives any code. */
static void begin_direct(dcz_block *block) {
  const dcz_table *const table = &block->table;
  uint32_t longest = 14, length, i, at;
  while (table->start[longest] == dcz_table_size(table)) --longest;
  block->mask = (UINT32_C(1) << longest) - 1;
  for (length = 1; length <= longest; ++length) {
    for (i = table->start[length]; i < table->start[length + 1]; ++i) {
      at = dcz_reversed(table->first[length] + i - table->start[length], length);
      for (; at <= block->mask; at += UINT32_C(1) << length)
        block->direct[at] = (uint16_t)((uint32_t)block->symbols[i] << 8 | length);
    }
  }
}
#else
/* The table has all codes of at most 7 bits. */
static void begin_narrow(dcz_block *block) {
  const dcz_table *const table = &block->table;
  uint32_t length, i, at;
  for (length = 1; length <= 7; ++length) {
    for (i = table->start[length]; i < table->start[length + 1]; ++i) {
      at = dcz_reversed(table->first[length] + i - table->start[length], length);
      for (; at < 128; at += UINT32_C(1) << length)
        block->quick[at] = (uint32_t)block->symbols[i] << 8 | length;
    }
  }
}

/* The first 8 bits of a code give its length, and further ones the symbol among those of the
   prefix. */
static void begin_wide(dcz_block *block) {
  const dcz_table *const table = &block->table;
  uint32_t length, i, j, at;
  for (length = 1; length <= 14; ++length) {
    const uint32_t more = length > 8 ? length - 8 : 0, prefix = length - more;
    for (i = table->start[length]; i < table->start[length + 1]; i += UINT32_C(1) << more) {
      const uint32_t entry = length | i << 8 | ((UINT32_C(1) << more) - 1) << 16;
      at = dcz_reversed((table->first[length] + i - table->start[length]) >> more, prefix);
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

#endif

/* The number of symbols before the next exception, which is `*rare_index` among the rare ones.
   Without a division of 64 bits, which small machines lack. */
static uint64_t take_exception(dcz_input *input, uint32_t rare, uint32_t *rare_index) {
  const uint64_t value = dcz_input_long_varint(input);
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

static void open_exceptions(dcz_block *block, dcz_input *input, uint32_t count) {
  dcz_lanes *const lanes = &block->lanes;
  const uint32_t rare = dcz_input_varint(input);
  uint32_t i, j, next = 0;
  if (rare == 0) return;
  if (rare > 256) dcz_input_refuse(input);
  for (i = 0; i < rare && input->error == DCZ_OK; ++i) {
    lanes->rare[i] = dcz_input_byte(input);
    if (lanes->rare[i] >= block->alphabet || (i > 0 && lanes->rare[i] <= lanes->rare[i - 1]))
      dcz_input_refuse(input);
    for (j = 0; j < dcz_table_size(&block->table); ++j) {
      if (block->symbols[j] == lanes->rare[i]) dcz_input_refuse(input);
    }
  }
  lanes->rare_size = (uint16_t)rare;
  lanes->exceptions_left = dcz_input_varint(input);
  if (lanes->exceptions_left > count || lanes->exceptions_left > dcz_input_left(input))
    dcz_input_refuse(input);
  dcz_input_open(&lanes->exceptions, input->source, dcz_input_at(input), input->end);
  for (i = 0; i < lanes->exceptions_left && input->error == DCZ_OK; ++i) {
    uint32_t index;
    const uint64_t distance = take_exception(input, rare, &index);
    if (distance >= count - next) {
      dcz_input_refuse(input);
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

dcz_error dcz_lanes_open(dcz_block *block, dcz_input *input, uint32_t count) {
  dcz_lanes *const lanes = &block->lanes;
  const uint32_t round = turn_of(block) * DCZ_LANES;
  const uint32_t rounds = count / round + (count % round != 0);
  uint32_t segments, total = 0, i;
  dcz_table_read(&block->table, input, block->alphabet, 256);
  if (input->error == DCZ_OK && dcz_table_size(&block->table) < 2) dcz_input_refuse(input);
  if (input->error != DCZ_OK) return input->error;
  lanes->exceptions_left = lanes->distance = 0;
  dcz_input_open(&lanes->exceptions, input->source, 0, 0);
  if (is_narrow(block)) {
    check_narrow(block, input);
  } else {
    check_wide(block, input);
  }
  if (input->error != DCZ_OK) return input->error;
#ifdef DCZ_ROOMY
  begin_direct(block);
#else
  if (is_narrow(block)) {
    begin_narrow(block);
  } else {
    begin_wide(block);
  }
#endif
  if (is_narrow(block)) open_exceptions(block, input, count);
  segments = dcz_input_varint(input);
  if (input->error != DCZ_OK) return input->error;
  if (segments < 1 || segments > rounds || segments > dcz_input_left(input))
    return dcz_input_refuse(input);
  lanes->short_rounds = rounds / segments;
  lanes->longer = rounds % segments;
  lanes->segments = segments;
  if (count > SEGMENT_SYMBOLS &&
      lanes->short_rounds + (lanes->longer > 0) > SEGMENT_SYMBOLS / round) {
    return dcz_input_refuse(input);
  }
  dcz_input_open(&lanes->lengths, input->source, dcz_input_at(input), input->end);
  for (i = 0; i < segments; ++i) {
    const uint32_t length = dcz_input_varint(input);
    if (input->error != DCZ_OK || length > dcz_input_left(input) - total)
      return dcz_input_refuse(input);
    total += length;
  }
  if (total > dcz_input_left(input) || count / 8 > total) return dcz_input_refuse(input);
  block->after = dcz_input_at(input) + total;
  dcz_input_open(input, input->source, dcz_input_at(input), block->after);
  lanes->rounds = 0;
  lanes->segment_end = dcz_input_at(input);
  next_exception(lanes, 0);
  return input->error;
}

/* "The segment's bytes are used up, and the rest of the windows is zero." */
static void end_segment(dcz_block *block) {
  const dcz_lanes *const lanes = &block->lanes;
  uint64_t left = 0;
  uint32_t i;
  for (i = 0; i < DCZ_LANES; ++i) left |= lanes->unused[i];
  if (left != 0 || dcz_input_at(&block->stream.input) != lanes->segment_end)
    dcz_input_refuse(&block->stream.input);
}

static void begin_segment(dcz_block *block) {
  dcz_lanes *const lanes = &block->lanes;
  dcz_input *const input = &block->stream.input;
  uint32_t i, j;
  lanes->segment_end += dcz_input_varint(&lanes->lengths);
  if (lanes->segments == 0 || lanes->lengths.error != DCZ_OK) dcz_input_refuse(input);
  --lanes->segments;
  lanes->rounds = lanes->short_rounds + (lanes->longer > 0);
  if (lanes->longer > 0) --lanes->longer;
  for (i = 0; i < DCZ_LANES; ++i) {
    lanes->unused[i] = 0;
    lanes->used[i] = 0;
    for (j = 0; j < 8; ++j) lanes->unused[i] |= (uint64_t)dcz_input_byte(input) << (8 * j);
  }
}

/* "The first floor(c / 8) bytes leave the window, and as many new ones enter behind." c is at
   most 63. Eight bytes can be read at `*next`. */
static inline uint64_t slide(const uint8_t **next, uint64_t unused, uint32_t used) {
  const uint64_t fresh = dcz_load64(*next) & ~(~UINT64_C(0) << (used & 56));
  *next += used >> 3;
  return unused | fresh << ((0 - used) & 63);
}

static uint64_t slide_slowly(dcz_input *input, uint64_t unused, uint32_t used) {
  for (; used >= 8; used -= 8) unused |= (uint64_t)dcz_input_byte(input) << (64 - used);
  return unused;
}

/* The next symbol of a lane. Its length is added to the lowest byte of `lengths`. */
#ifdef DCZ_ROOMY
#define NARROW_SYMBOL(i)                             \
  do {                                               \
    const uint64_t one = block->direct[bits & mask]; \
    out[i] = (uint8_t)(one >> 8);                    \
    bits >>= one & 63;                               \
    lengths += one;                                  \
  } while (0)
#define WIDE_SYMBOL(i) NARROW_SYMBOL(i)
#else
#define NARROW_SYMBOL(i)                           \
  do {                                             \
    const uint64_t one = block->quick[bits & 127]; \
    out[i] = (uint8_t)(one >> 8);                  \
    bits >>= one & 63;                             \
    lengths += one;                                \
  } while (0)
#define WIDE_SYMBOL(i)                                                              \
  do {                                                                              \
    const uint64_t one = block->quick[bits & 255];                                  \
    out[i] = (uint8_t)block->symbols[(one >> 8 & 255) + (bits >> 8 & (one >> 16))]; \
    bits >>= one & 63;                                                              \
    lengths += one;                                                                 \
  } while (0)
#endif

/* A round of all its symbols, whose lanes take bytes that are at hand. `turn` is a constant. */
static inline void quick_round(dcz_block *block, uint32_t turn) {
  dcz_lanes *const lanes = &block->lanes;
#ifdef DCZ_ROOMY
  const uint64_t mask = block->mask;
#endif
  const uint8_t *next = block->stream.input.next;
  uint8_t *out = block->out;
  uint32_t lane;
  for (lane = 0; lane < DCZ_LANES; ++lane, out += turn) {
    const uint32_t used = lanes->used[lane];
    uint64_t bits = slide(&next, lanes->unused[lane], used), lengths = used & 7;
    if (turn == 8) {
      NARROW_SYMBOL(0);
      NARROW_SYMBOL(1);
      NARROW_SYMBOL(2);
      NARROW_SYMBOL(3);
      NARROW_SYMBOL(4);
      NARROW_SYMBOL(5);
      NARROW_SYMBOL(6);
      NARROW_SYMBOL(7);
    } else {
      WIDE_SYMBOL(0);
      WIDE_SYMBOL(1);
      WIDE_SYMBOL(2);
      WIDE_SYMBOL(3);
    }
    lanes->unused[lane] = bits;
    lanes->used[lane] = (uint8_t)lengths;
  }
  block->stream.input.next = next;
}

/* Any round: of `count` symbols, or through a callback. */
static void slow_round(dcz_block *block, uint32_t count) {
  dcz_lanes *const lanes = &block->lanes;
#ifdef DCZ_ROOMY
  const uint64_t mask = block->mask;
#endif
  const int narrow = is_narrow(block);
  const uint32_t turn = turn_of(block);
  uint8_t *out = block->out;
  uint32_t lane;
  for (lane = 0; lane < DCZ_LANES; ++lane) {
    const uint32_t used = lanes->used[lane], part = count < turn ? count : turn;
    uint64_t bits = slide_slowly(&block->stream.input, lanes->unused[lane], used);
    uint64_t lengths = used & 7;
    uint32_t i;
    for (i = 0; i < part; ++i) {
      if (narrow) {
        NARROW_SYMBOL(i);
      } else {
        WIDE_SYMBOL(i);
      }
    }
    lanes->unused[lane] = bits;
    lanes->used[lane] = (uint8_t)lengths;
    out += part;
    count -= part;
  }
}

void dcz_lanes_round(dcz_block *block, uint32_t count) {
  dcz_lanes *const lanes = &block->lanes;
  const dcz_input *const input = &block->stream.input;
  if (lanes->rounds == 0) begin_segment(block);
  --lanes->rounds;
  /* of a lane, at most 7 bytes leave, and 8 are read */
  if (count < turn_of(block) * DCZ_LANES || input->limit - input->next < 8 * DCZ_LANES) {
    slow_round(block, count);
  } else if (is_narrow(block)) {
    quick_round(block, 8);
  } else {
    quick_round(block, 4);
  }
  if (lanes->rounds == 0) end_segment(block);
  while (lanes->exceptions_left > 0 && lanes->distance < count) {
    block->out[lanes->distance] = lanes->exception;
    --lanes->exceptions_left;
    next_exception(lanes, lanes->distance + 1);
  }
  lanes->distance -= count;
  if (lanes->exceptions.error != DCZ_OK) dcz_input_refuse(&block->stream.input);
}

dcz_error dcz_lanes_end(dcz_block *block) {
  dcz_lanes *const lanes = &block->lanes;
  if (lanes->rounds != 0 || lanes->segments != 0 || lanes->exceptions_left != 0)
    return DCZ_ERROR_PAYLOAD;
  return block->stream.input.error;
}
