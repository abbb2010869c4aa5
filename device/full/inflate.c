/* DEFLATE (RFC 1951), with the choices of zlib where it is silent: which codes may be incomplete.
 */
#include "inflate.h"

#include <string.h>

enum { HEADER, STORED, SYMBOLS, ENDED };
enum { CODE_LENGTHS = 19, END_OF_BLOCK = 256, LONGEST_WINDOW = 32768 };

uint32_t dcz_inflate_window(uint32_t size) {
  uint32_t bytes = 1;
  while (bytes < size && bytes < LONGEST_WINDOW) bytes *= 2;
  return bytes;
}

static void link(dcz_inflater *inflater) {
  inflater->bits.input = &inflater->input;
  inflater->literals.symbols = inflater->literal_symbols;
  inflater->literals.quick = inflater->literal_quick;
  inflater->distances.symbols = inflater->distance_symbols;
  inflater->distances.quick = inflater->distance_quick;
}

void dcz_inflate_open(dcz_inflater *inflater, const dcz_source *source, uint32_t at, uint32_t end,
                      uint8_t *window, uint32_t window_bytes) {
  dcz_input_open(&inflater->input, source, at, end);
  dcz_bits_open(&inflater->bits, &inflater->input);
  link(inflater);
  inflater->window = window;
  inflater->mask = window_bytes - 1;
  inflater->made = inflater->left = inflater->distance = 0;
  inflater->state = HEADER;
  inflater->last = 0;
}

void dcz_inflate_copy(dcz_inflater *to, const dcz_inflater *from) {
  uint8_t *const window = to->window;
  *to = *from;
  to->window = window;
  memcpy(window, from->window, from->mask + 1);
  link(to);
  dcz_input_open(&to->input, from->input.source, dcz_input_at(&from->input), from->input.end);
  to->input.error = from->input.error;
}

/* A code may be incomplete if it has one symbol of one bit, or none where `may_be_empty`. */
static int make_table(dcz_table *table, const uint8_t *lengths, uint32_t count, int may_be_empty) {
  uint32_t counts[DCZ_LONGEST_CODE + 1] = {0}, next[DCZ_LONGEST_CODE + 1], filled, i;
  for (i = 0; i < count; ++i) ++counts[lengths[i]];
  counts[0] = 0;
  filled = dcz_table_begin(table, counts);
  if (filled > 65536) return 0;
  if (filled < 65536 && !(dcz_table_size(table) == counts[1] && (counts[1] == 1 || may_be_empty)))
    return 0;
  memcpy(next, table->start, sizeof next);
  for (i = 0; i < count; ++i) {
    if (lengths[i] > 0) table->symbols[next[lengths[i]]++] = (uint16_t)i;
  }
  dcz_table_quicken(table);
  return 1;
}

/* The lengths of the codes of a block, coded by codes in turn. */
static int take_tables(dcz_inflater *inflater) {
  static const uint8_t order[CODE_LENGTHS] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                              11, 4,  12, 3, 13, 2, 14, 1, 15};
  dcz_bits *const bits = &inflater->bits;
  const uint32_t literals = dcz_bits_take(bits, 5) + 257, distances = dcz_bits_take(bits, 5) + 1;
  const uint32_t codes = dcz_bits_take(bits, 4) + 4;
  uint8_t lengths[286 + 30];
  uint32_t i;
  if (literals > 286 || distances > 30) return 0;
  memset(lengths, 0, CODE_LENGTHS);
  for (i = 0; i < codes; ++i) lengths[order[i]] = (uint8_t)dcz_bits_take(bits, 3);
  /* only a complete code will do here: this is where zlib is strict */
  if (!make_table(&inflater->distances, lengths, CODE_LENGTHS, 0)) return 0;
  if (dcz_table_size(&inflater->distances) < 2) return 0;
  for (i = 0; i < literals + distances;) {
    const uint32_t symbol = dcz_table_next(&inflater->distances, bits);
    uint32_t repeat = 1;
    uint8_t length = (uint8_t)symbol;
    if (symbol >= 16) {
      if (symbol == 16 && i == 0) return 0;
      length = symbol == 16 ? lengths[i - 1] : 0;
      repeat = symbol == 16   ? 3 + dcz_bits_take(bits, 2)
               : symbol == 17 ? 3 + dcz_bits_take(bits, 3)
                              : 11 + dcz_bits_take(bits, 7);
    }
    if (repeat > literals + distances - i) return 0;
    for (; repeat > 0; --repeat) lengths[i++] = length;
  }
  return lengths[END_OF_BLOCK] > 0 && make_table(&inflater->literals, lengths, literals, 0) &&
         make_table(&inflater->distances, lengths + literals, distances, 1);
}

static int fixed_tables(dcz_inflater *inflater) {
  uint8_t lengths[DCZ_LITERALS];
  memset(lengths, 8, 144);
  memset(lengths + 144, 9, 112);
  memset(lengths + 256, 7, 24);
  memset(lengths + 280, 8, 8);
  make_table(&inflater->literals, lengths, DCZ_LITERALS, 0);
  memset(lengths, 5, DCZ_DISTANCES);
  return make_table(&inflater->distances, lengths, DCZ_DISTANCES, 0);
}

/* "Any bits of input up to the next byte boundary are ignored." */
static int begin_stored(dcz_inflater *inflater) {
  dcz_bits *const bits = &inflater->bits;
  uint32_t length;
  dcz_bits_skip(bits, bits->count & 7);
  length = dcz_bits_take(bits, 16);
  inflater->left = length;
  return dcz_bits_take(bits, 16) == (length ^ 0xffff);
}

static void begin_block(dcz_inflater *inflater) {
  uint32_t kind;
  int sound = 0;
  if (inflater->last) {
    inflater->state = ENDED;
    return;
  }
  inflater->last = (uint8_t)dcz_bits_take(&inflater->bits, 1);
  kind = dcz_bits_take(&inflater->bits, 2);
  inflater->left = 0;
  inflater->state = kind == 0 ? STORED : SYMBOLS;
  if (kind == 0) sound = begin_stored(inflater);
  if (kind == 1) sound = fixed_tables(inflater);
  if (kind == 2) sound = take_tables(inflater);
  if (!sound) dcz_input_refuse(&inflater->input);
}

/* The base of a length or distance: from the `first` symbol on, 2^step symbols each have one bit
   more. */
static uint32_t take_base(dcz_bits *bits, uint32_t number, uint32_t step) {
  const uint32_t more = number < 2u << step ? 0 : (number >> step) - 1;
  const uint32_t base = more == 0 ? number : ((1u << step) | (number & ((1u << step) - 1))) << more;
  return base + dcz_bits_take(bits, more);
}

/* A byte, which is given; or a copy or the end of the block, and nothing is given. */
static int take_symbol(dcz_inflater *inflater, uint8_t *byte) {
  dcz_bits *const bits = &inflater->bits;
  const uint32_t symbol = dcz_table_next(&inflater->literals, bits);
  uint32_t distance;
  *byte = (uint8_t)symbol;
  if (symbol < END_OF_BLOCK) return 1;
  if (symbol == END_OF_BLOCK) {
    inflater->state = HEADER;
    return 0;
  }
  if (symbol > 285) dcz_input_refuse(&inflater->input);
  inflater->left = symbol == 285 ? 258 : 3 + take_base(bits, symbol - 257, 2);
  distance = dcz_table_next(&inflater->distances, bits);
  if (distance > 29) dcz_input_refuse(&inflater->input);
  inflater->distance = 1 + take_base(bits, distance & 31, 1);
  if (inflater->distance > inflater->made) dcz_input_refuse(&inflater->input);
  return 0;
}

/* Gives how many of `count` bytes there are before the end or an error. */
static uint32_t run(dcz_inflater *inflater, uint8_t *to, uint32_t stride, uint32_t count) {
  const uint32_t wanted = count;
  uint8_t *const window = inflater->window;
  while (count > 0 && inflater->state != ENDED) {
    uint8_t byte = 0;
    if (inflater->bits.past > inflater->bits.count) dcz_input_refuse(&inflater->input);
    if (inflater->input.error != DCZ_OK) break;
    if (inflater->state == HEADER) {
      begin_block(inflater);
      continue;
    }
    if (inflater->state == STORED) {
      if (inflater->left == 0) {
        inflater->state = HEADER;
        continue;
      }
      --inflater->left;
      byte = (uint8_t)dcz_bits_take(&inflater->bits, 8);
      if (inflater->bits.past > inflater->bits.count) continue;
    } else if (inflater->left > 0) {
      --inflater->left;
      byte = window[(inflater->made - inflater->distance) & inflater->mask];
    } else if (!take_symbol(inflater, &byte)) {
      continue;
    }
    window[inflater->made++ & inflater->mask] = byte;
    *to = byte;
    to += stride;
    --count;
  }
  return wanted - count;
}

dcz_error dcz_inflate_next(dcz_inflater *inflater, uint8_t *to, uint32_t stride, uint32_t count) {
  if (run(inflater, to, stride, count) != count || inflater->bits.past > inflater->bits.count)
    dcz_input_refuse(&inflater->input);
  return inflater->input.error;
}

dcz_error dcz_inflate_end(dcz_inflater *inflater) {
  dcz_bits *const bits = &inflater->bits;
  uint8_t byte;
  const uint32_t more = run(inflater, &byte, 0, 1);
  if (inflater->input.error != DCZ_OK) return inflater->input.error;
  if (more > 0 || bits->past > bits->count || (bits->count - bits->past) / 8 > 0 ||
      dcz_input_left(&inflater->input) > 0) {
    dcz_input_refuse(&inflater->input);
  }
  return inflater->input.error;
}
