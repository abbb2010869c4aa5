/* Blocks of the layouts same, plain and stream; lanes.c has the others. */
#include "block.h"

#include <string.h>

enum { SAME, PLAIN, STREAM, NARROW_LANES, WIDE_LANES };

dcz_error dcz_block_open(dcz_block *block, const dcz_source *source, uint32_t at, uint32_t end, uint32_t count,
                         uint32_t alphabet) {
  dcz_cursor *const cursor = &block->stream.cursor;
  block->next = block->limit = block->out;
  block->left = count;
  block->after = at;
  block->alphabet = (uint16_t)alphabet;
  block->layout = PLAIN;
  block->code.symbols = block->symbols;
  block->code.quick = block->quick;
  dcz_cursor_open(cursor, source, at, end);
  block->error = DCZ_OK;
  if (count == 0) return DCZ_OK;
  block->layout = dcz_cursor_byte(cursor);
  if (block->layout == SAME) {
    const uint8_t symbol = dcz_cursor_byte(cursor);
    if (symbol >= alphabet) dcz_cursor_refuse(cursor);
    memset(block->out, symbol, sizeof block->out);
    block->after = dcz_cursor_at(cursor);
  } else if (block->layout == PLAIN) {
    if (count > dcz_cursor_left(cursor)) dcz_cursor_refuse(cursor);
    if (cursor->error == DCZ_OK) block->after = dcz_cursor_at(cursor) + count;
  } else if (block->layout == STREAM) {
    dcz_cursor table;
    uint32_t length;
    dcz_cursor_open(&table, source, dcz_cursor_at(cursor), end);
    dcz_code_read(&block->code, &table, alphabet, 256);
    length = dcz_cursor_varint(&table);
    if (dcz_code_size(&block->code) < 2 || count > 65536) dcz_cursor_refuse(&table);
    if (table.error == DCZ_OK) dcz_code_quicken(&block->code);
    dcz_stream_open(&block->stream, &table, length, &block->code, count);
    block->after = dcz_cursor_at(&table);
  } else if (block->layout == NARROW_LANES || block->layout == WIDE_LANES) {
    return block->error = dcz_lanes_open(block, cursor, count);
  } else {
    dcz_cursor_refuse(cursor);
  }
  return block->error = cursor->error;
}

static uint32_t fill_plain(dcz_block *block) {
  dcz_cursor *const cursor = &block->stream.cursor;
  uint32_t count, i;
  if (!dcz_cursor_fill(cursor)) return 0;
  count = (uint32_t)(cursor->limit - cursor->next);
  if (count > block->left) count = block->left;
  block->next = cursor->next;
  cursor->next += count;
  for (i = 0; block->alphabet < 256 && i < count; ++i) {
    if (block->next[i] >= block->alphabet) dcz_cursor_refuse(cursor);
  }
  return count;
}

void dcz_block_fill(dcz_block *block) {
  uint32_t count = block->left < sizeof block->out ? block->left : (uint32_t)sizeof block->out, i;
  block->next = block->out;
  if (count == 0 && block->error == DCZ_OK) block->error = DCZ_ERROR_PAYLOAD;
  if (block->error != DCZ_OK) {
    count = 0;
  } else if (block->layout == PLAIN) {
    count = fill_plain(block);
  } else if (block->layout == STREAM) {
    for (i = 0; i < count; ++i) block->out[i] = (uint8_t)dcz_code_next(&block->code, &block->stream.bits);
    block->stream.left -= count;
  } else if (block->layout == NARROW_LANES || block->layout == WIDE_LANES) {
    if (block->layout == WIDE_LANES && count > 4 * DCZ_LANES) count = 4 * DCZ_LANES;
    dcz_lanes_round(block, count);
  }
  if (block->error == DCZ_OK) block->error = block->stream.cursor.error;
  if (block->error == DCZ_OK) {
    block->limit = block->next + count;
    block->left -= count;
  } else {
    /* whoever reads on finds zeros */
    memset(block->out, 0, sizeof block->out);
    block->next = block->out;
    block->limit = block->out + sizeof block->out;
  }
}

dcz_error dcz_block_end(dcz_block *block) {
  if (block->error == DCZ_OK && (block->left != 0 || block->next != block->limit)) block->error = DCZ_ERROR_PAYLOAD;
  if (block->error == DCZ_OK && block->layout == STREAM) block->error = dcz_stream_end(&block->stream);
  if (block->error == DCZ_OK && block->layout >= NARROW_LANES) block->error = dcz_lanes_end(block);
  return block->error;
}
