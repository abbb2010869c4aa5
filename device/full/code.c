/* Tables of canonical Huffman codes, read without an array of lengths; long codes; the ends of streams. */
#include "code.h"

/* Reads the lengths of a table. Each symbol of length l counts in place[l]; where there are `symbols`, it is put there,
 * not at or behind limit[l]. */
static void walk(dcz_cursor *cursor, uint32_t alphabet, uint32_t *place, uint16_t *symbols, const uint32_t *limit) {
  const uint32_t size = dcz_cursor_varint(cursor);
  int32_t previous = 4;
  uint32_t symbol;
  dcz_bits bits;
  if (size < 1 || size > alphabet) {
    dcz_cursor_refuse(cursor);
    return;
  }
  dcz_bits_open(&bits, cursor);
  for (symbol = 0; symbol < size && cursor->error == DCZ_OK; ++symbol) {
    const uint32_t token = dcz_bits_token(&bits);
    if (token == 2) {
      symbol += dcz_bits_token(&bits);
      /* "The last symbol occurs." */
      if (symbol >= size - 1) dcz_cursor_refuse(cursor);
      continue;
    }
    previous += token == 1 ? 1 : token % 2 == 0 ? (int32_t)(token / 2) : -(int32_t)(token / 2);
    if (previous < 1 || previous > DCZ_LONGEST_CODE) {
      dcz_cursor_refuse(cursor);
      return;
    }
    if (symbols != NULL) {
      /* a source may give other bytes the second time */
      if (place[previous] >= limit[previous]) {
        dcz_cursor_refuse(cursor);
        return;
      }
      symbols[place[previous]] = (uint16_t)symbol;
    }
    ++place[previous];
  }
  dcz_bits_end(&bits);
}

uint32_t dcz_code_begin(dcz_code *code, const uint32_t counts[DCZ_LONGEST_CODE + 1]) {
  uint32_t next = 0, filled = 0, length;
  code->start[0] = code->start[1] = code->first[0] = 0;
  for (length = 1; length <= DCZ_LONGEST_CODE; ++length) {
    next = (next + (length > 1 ? counts[length - 1] : 0)) << 1;
    code->first[length] = next;
    code->start[length + 1] = code->start[length] + counts[length];
    filled += counts[length] << (DCZ_LONGEST_CODE - length);
  }
  return filled;
}

/* The code's lengths, without symbols. */
static void scan(dcz_code *code, dcz_cursor *cursor, uint32_t alphabet) {
  uint32_t counts[DCZ_LONGEST_CODE + 1] = {0};
  uint32_t filled;
  walk(cursor, alphabet, counts, NULL, NULL);
  filled = dcz_code_begin(code, counts);
  if (dcz_code_size(code) == 1 ? counts[1] != 1 : filled != UINT32_C(1) << DCZ_LONGEST_CODE) dcz_cursor_refuse(cursor);
}

uint32_t dcz_code_scan(dcz_cursor *cursor, uint32_t alphabet) {
  dcz_code code;
  scan(&code, cursor, alphabet);
  return dcz_code_size(&code);
}

void dcz_code_read(dcz_code *code, dcz_cursor *cursor, uint32_t alphabet, uint32_t room) {
  const uint32_t at = dcz_cursor_at(cursor);
  uint32_t place[DCZ_LONGEST_CODE + 1];
  uint32_t length;
  scan(code, cursor, alphabet);
  if (dcz_code_size(code) > room) dcz_cursor_refuse(cursor);
  if (cursor->error != DCZ_OK) return;
  for (length = 0; length <= DCZ_LONGEST_CODE; ++length) place[length] = code->start[length];
  dcz_cursor_open(cursor, cursor->source, at, cursor->end);
  walk(cursor, alphabet, place, code->symbols, code->start + 1);
  for (length = 0; length <= DCZ_LONGEST_CODE; ++length) {
    if (place[length] != code->start[length + 1] && length > 0) dcz_cursor_refuse(cursor);
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

void dcz_code_quicken(dcz_code *code) {
  const uint32_t size = 1u << DCZ_QUICK_BITS;
  uint32_t length, i, at;
  for (i = 0; i < size; ++i) code->quick[i] = 0;
  for (length = 1; length <= DCZ_QUICK_BITS; ++length) {
    for (i = code->start[length]; i < code->start[length + 1]; ++i) {
      const uint32_t entry = length << 16 | code->symbols[i];
      at = dcz_reversed(code->first[length] + i - code->start[length], length);
      for (; at < size; at += UINT32_C(1) << length) code->quick[at] = entry;
    }
  }
}

uint32_t dcz_code_slowly(const dcz_code *code, dcz_bits *bits) {
  uint32_t found = 0, length, rank;
  for (length = 1; length <= DCZ_LONGEST_CODE; ++length) {
    found = found << 1 | (bits->held >> (length - 1) & 1);
    rank = found - code->first[length];
    if (rank < code->start[length + 1] - code->start[length]) {
      dcz_bits_skip(bits, length);
      return code->symbols[code->start[length] + rank];
    }
  }
  /* only the codes of deflate may be incomplete */
  dcz_cursor_refuse(bits->cursor);
  return 0;
}

void dcz_stream_open(dcz_stream *stream, dcz_cursor *cursor, uint32_t length, const dcz_code *code, uint32_t count) {
  const uint32_t at = dcz_cursor_at(cursor);
  dcz_cursor_skip(cursor, length);
  /* a lone symbol takes no bits, all others take one at least */
  if (dcz_code_size(code) == 1 ? length != 0 : count / 8 > length) dcz_cursor_refuse(cursor);
  if (cursor->error != DCZ_OK) length = 0;
  dcz_cursor_open(&stream->cursor, cursor->source, at, at + length);
  stream->cursor.error = cursor->error;
  dcz_bits_open(&stream->bits, &stream->cursor);
  stream->code = code;
  stream->left = count;
}

dcz_error dcz_stream_end(dcz_stream *stream) {
  dcz_bits_end(&stream->bits);
  if (stream->left != 0 || dcz_cursor_left(&stream->cursor) != 0) dcz_cursor_refuse(&stream->cursor);
  return stream->cursor.error;
}
