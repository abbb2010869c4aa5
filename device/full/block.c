/* Blocks of the layouts same, plain and stream; lanes.c has the others. */
#include "block.h"

#include <string.h>

enum { SAME, PLAIN, STREAM, NARROW_LANES, WIDE_LANES };

dcz_error dcz_block_open(dcz_block *block, const dcz_source *source, uint32_t at, uint32_t end,
                         uint32_t count, uint32_t alphabet) {
  dcz_input *const input = &block->stream.input;
  block->next = block->limit = block->out;
  block->left = count;
  block->after = at;
  block->alphabet = (uint16_t)alphabet;
  block->layout = PLAIN;
  block->table.symbols = block->symbols;
  block->table.quick = block->quick;
  dcz_input_open(input, source, at, end);
  block->error = DCZ_OK;
  if (count == 0) return DCZ_OK;
  block->layout = dcz_input_byte(input);
  if (block->layout == SAME) {
    const uint8_t symbol = dcz_input_byte(input);
    if (symbol >= alphabet) dcz_input_refuse(input);
    memset(block->out, symbol, sizeof block->out);
    block->after = dcz_input_at(input);
  } else if (block->layout == PLAIN) {
    if (count > dcz_input_left(input)) dcz_input_refuse(input);
    if (input->error == DCZ_OK) block->after = dcz_input_at(input) + count;
  } else if (block->layout == STREAM) {
    dcz_input table;
    uint32_t length;
    dcz_input_open(&table, source, dcz_input_at(input), end);
    dcz_table_read(&block->table, &table, alphabet, 256);
    length = dcz_input_varint(&table);
    if (dcz_table_size(&block->table) < 2 || count > 65536) dcz_input_refuse(&table);
    if (table.error == DCZ_OK) dcz_table_quicken(&block->table);
    dcz_stream_open(&block->stream, &table, length, &block->table, count);
    block->after = dcz_input_at(&table);
  } else if (block->layout == NARROW_LANES || block->layout == WIDE_LANES) {
    return block->error = dcz_lanes_open(block, input, count);
  } else {
    dcz_input_refuse(input);
  }
  return block->error = input->error;
}

static uint32_t fill_plain(dcz_block *block) {
  dcz_input *const input = &block->stream.input;
  uint32_t count, i;
  if (!dcz_input_fill(input)) return 0;
  count = (uint32_t)(input->limit - input->next);
  if (count > block->left) count = block->left;
  block->next = input->next;
  input->next += count;
  for (i = 0; block->alphabet < 256 && i < count; ++i) {
    if (block->next[i] >= block->alphabet) dcz_input_refuse(input);
  }
  return count;
}

void dcz_block_fill(dcz_block *block) {
  uint32_t count = block->left < sizeof block->out ? block->left : (uint32_t)sizeof block->out;
  block->next = block->out;
  if (count == 0 && block->error == DCZ_OK) block->error = DCZ_ERROR_PAYLOAD;
  if (block->error != DCZ_OK) {
    count = 0;
  } else if (block->layout == PLAIN) {
    count = fill_plain(block);
  } else if (block->layout == STREAM) {
    dcz_table_bytes(&block->table, &block->stream.bits, block->out, count);
    block->stream.left -= count;
  } else if (block->layout == NARROW_LANES || block->layout == WIDE_LANES) {
    if (block->layout == WIDE_LANES && count > 4 * DCZ_LANES) count = 4 * DCZ_LANES;
    dcz_lanes_round(block, count);
  }
  if (block->error == DCZ_OK) block->error = block->stream.input.error;
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
  if (block->error == DCZ_OK && (block->left != 0 || block->next != block->limit))
    block->error = DCZ_ERROR_PAYLOAD;
  if (block->error == DCZ_OK && block->layout == STREAM)
    block->error = dcz_stream_end(&block->stream);
  if (block->error == DCZ_OK && block->layout >= NARROW_LANES) block->error = dcz_lanes_end(block);
  return block->error;
}
