/* Tables of canonical Huffman codes, read without an array of lengths; long codes; the ends of
   streams. */
#include "table.h"

#include <stddef.h>

/* Reads the lengths of a table. Each symbol of length l counts in place[l]; where there are
   `symbols`, it is put there, not at or behind limit[l]. */
static void walk(dcz_input *input, uint32_t alphabet, uint32_t *place, uint16_t *symbols,
                 const uint32_t *limit) {
  const uint32_t size = dcz_input_varint(input);
  int32_t previous = 4;
  uint32_t symbol;
  dcz_bits bits;
  if (size < 1 || size > alphabet) {
    dcz_input_refuse(input);
    return;
  }
  dcz_bits_open(&bits, input);
  for (symbol = 0; symbol < size && input->error == DCZ_OK; ++symbol) {
    const uint32_t token = dcz_bits_token(&bits);
    if (token == 2) {
      symbol += dcz_bits_token(&bits);
      /* "The last symbol occurs." */
      if (symbol >= size - 1) dcz_input_refuse(input);
      continue;
    }
    previous += token == 1 ? 1 : token % 2 == 0 ? (int32_t)(token / 2) : -(int32_t)(token / 2);
    if (previous < 1 || previous > DCZ_LONGEST_CODE) {
      dcz_input_refuse(input);
      return;
    }
    if (symbols != NULL) {
      /* a source may give other bytes the second time */
      if (place[previous] >= limit[previous]) {
        dcz_input_refuse(input);
        return;
      }
      symbols[place[previous]] = (uint16_t)symbol;
    }
    ++place[previous];
  }
  dcz_bits_end(&bits);
}

uint32_t dcz_table_begin(dcz_table *table, const uint32_t counts[DCZ_LONGEST_CODE + 1]) {
  uint32_t next = 0, filled = 0, length;
  table->start[0] = table->start[1] = table->first[0] = 0;
  for (length = 1; length <= DCZ_LONGEST_CODE; ++length) {
    next = (next + (length > 1 ? counts[length - 1] : 0)) << 1;
    table->first[length] = next;
    table->start[length + 1] = table->start[length] + counts[length];
    filled += counts[length] << (DCZ_LONGEST_CODE - length);
  }
  return filled;
}

/* Its lengths, without symbols. */
static void scan(dcz_table *table, dcz_input *input, uint32_t alphabet) {
  uint32_t counts[DCZ_LONGEST_CODE + 1] = {0};
  uint32_t filled;
  walk(input, alphabet, counts, NULL, NULL);
  filled = dcz_table_begin(table, counts);
  if (dcz_table_size(table) == 1 ? counts[1] != 1 : filled != UINT32_C(1) << DCZ_LONGEST_CODE)
    dcz_input_refuse(input);
}

uint32_t dcz_table_scan(dcz_input *input, uint32_t alphabet) {
  dcz_table table;
  scan(&table, input, alphabet);
  return dcz_table_size(&table);
}

void dcz_table_read(dcz_table *table, dcz_input *input, uint32_t alphabet, uint32_t room) {
  const uint32_t at = dcz_input_at(input);
  uint32_t place[DCZ_LONGEST_CODE + 1];
  uint32_t length;
  scan(table, input, alphabet);
  if (dcz_table_size(table) > room) dcz_input_refuse(input);
  if (input->error != DCZ_OK) return;
  for (length = 0; length <= DCZ_LONGEST_CODE; ++length) place[length] = table->start[length];
  dcz_input_open(input, input->source, at, input->end);
  walk(input, alphabet, place, table->symbols, table->start + 1);
  for (length = 0; length <= DCZ_LONGEST_CODE; ++length) {
    if (place[length] != table->start[length + 1] && length > 0) dcz_input_refuse(input);
  }
}

uint32_t dcz_reversed(uint32_t value, uint32_t count) {
  uint32_t found = 0;
  while (count-- > 0) {
    found = found << 1 | (value & 1);
    value >>= 1;
  }
  return found;
}

void dcz_table_quicken(dcz_table *table) {
  const uint32_t size = 1u << DCZ_TABLE_BITS;
  uint32_t length, i, at;
  for (i = 0; i < size; ++i) table->quick[i] = 0;
  for (length = 1; length <= DCZ_TABLE_BITS; ++length) {
    for (i = table->start[length]; i < table->start[length + 1]; ++i) {
      const uint32_t entry = length << 16 | table->symbols[i];
      at = dcz_reversed(table->first[length] + i - table->start[length], length);
      for (; at < size; at += UINT32_C(1) << length) table->quick[at] = entry;
    }
  }
}

uint32_t dcz_table_slowly(const dcz_table *table, dcz_bits *bits) {
  uint32_t window = bits->held & 0xffff, length = DCZ_TABLE_BITS;
  window = (window & 0x5555) << 1 | (window >> 1 & 0x5555);
  window = (window & 0x3333) << 2 | (window >> 2 & 0x3333);
  window = (window & 0x0f0f) << 4 | (window >> 4 & 0x0f0f);
  window = (window & 0x00ff) << 8 | window >> 8;
  while (++length <= DCZ_LONGEST_CODE) {
    const uint32_t rank = (window >> (DCZ_LONGEST_CODE - length)) - table->first[length];
    if (rank < table->start[length + 1] - table->start[length]) {
      dcz_bits_skip(bits, length);
      return table->symbols[table->start[length] + rank];
    }
  }
  /* only the codes of deflate may be incomplete */
  dcz_input_refuse(bits->input);
  return 0;
}

void dcz_table_bytes(const dcz_table *table, dcz_bits *bits, uint8_t *to, uint32_t count) {
  dcz_input *const input = bits->input;
  const uint32_t *const quick = table->quick;
  const uint8_t *const end = to + count;
  while (to < end) {
    /* copies, since for the compiler a byte that is written may change anything */
    const uint8_t *next = input->next, *const limit = input->limit;
    uint32_t held = bits->held, left = bits->count, found = 1;
    while (end - to >= 3 && limit - next >= 4 && found != 0) {
      const uint32_t word = dcz_load32(next);
      uint32_t symbol;
      held |= left < 32 ? word << left : 0;
      next += (32 - left) >> 3;
      left += (32 - left) & ~UINT32_C(7);
      /* three codes of at most 8 bits */
      for (symbol = 0; symbol < 3 && left >= DCZ_TABLE_BITS; ++symbol) {
        found = quick[held & ((1u << DCZ_TABLE_BITS) - 1)];
        if (found == 0) break;
        held >>= found >> 16;
        left -= found >> 16;
        *to++ = (uint8_t)found;
      }
    }
    input->next = next;
    bits->held = held;
    bits->count = left;
    if (to < end) *to++ = (uint8_t)dcz_table_next(table, bits);
  }
}

void dcz_stream_open(dcz_stream *stream, dcz_input *input, uint32_t length, const dcz_table *table,
                     uint32_t count) {
  const uint32_t at = dcz_input_at(input);
  dcz_input_skip(input, length);
  /* a lone symbol takes no bits, all others take one at least */
  if (dcz_table_size(table) == 1 ? length != 0 : count / 8 > length) dcz_input_refuse(input);
  if (input->error != DCZ_OK) length = 0;
  dcz_input_open(&stream->input, input->source, at, at + length);
  stream->input.error = input->error;
  dcz_bits_open(&stream->bits, &stream->input);
  stream->table = table;
  stream->left = count;
}

dcz_error dcz_stream_end(dcz_stream *stream) {
  dcz_bits_end(&stream->bits);
  if (stream->left != 0 || dcz_input_left(&stream->input) != 0) dcz_input_refuse(&stream->input);
  return stream->input.error;
}
