/* Canonical Huffman codes: read from a table, and symbols by them. docs/format.md, "Table" and
   "Stream". */
#ifndef DCZ_TABLE_H
#define DCZ_TABLE_H

#include "input.h"

/* Codes of at most so many bits are found by one look into a table of 4 bytes for each of their
   combinations. */
#ifndef DCZ_TABLE_BITS
#define DCZ_TABLE_BITS 8
#endif
#if DCZ_TABLE_BITS < 8
#error "wide lanes look 8 bits up at once"
#endif

#define DCZ_LONGEST_CODE 16

typedef struct {
  uint32_t start[DCZ_LONGEST_CODE + 2]; /* in `symbols`, of each length; the last is their number */
  uint32_t first[DCZ_LONGEST_CODE + 1]; /* the first code of each length */
  uint16_t *symbols;                    /* by length, then by symbol */
  uint32_t *quick; /* the next DCZ_TABLE_BITS -> length << 16 | symbol; 0 begins a longer code */
} dcz_table;

/* The number of symbols in the table at the input, which goes behind it. */
uint32_t dcz_table_scan(dcz_input *input, uint32_t alphabet);

/* Reads a table into `table`, whose `symbols` have room for `room`, without `quick`. */
void dcz_table_read(dcz_table *table, dcz_input *input, uint32_t alphabet, uint32_t room);

/* Sets `start` and `first` from the number of codes of each length. Gives what fills the code
   space, in 65536ths. */
uint32_t dcz_table_begin(dcz_table *table, const uint32_t counts[DCZ_LONGEST_CODE + 1]);
void dcz_table_quicken(dcz_table *table);

static inline uint32_t dcz_table_size(const dcz_table *table) {
  return table->start[DCZ_LONGEST_CODE + 1];
}

/* The symbol of a code longer than DCZ_TABLE_BITS. */
uint32_t dcz_table_slowly(const dcz_table *table, dcz_bits *bits);

static inline uint32_t dcz_table_next(const dcz_table *table, dcz_bits *bits) {
  uint32_t found;
  if (bits->count < DCZ_LONGEST_CODE) dcz_bits_fill(bits);
  found = table->quick[bits->held & ((1u << DCZ_TABLE_BITS) - 1)];
  if (found == 0) return dcz_table_slowly(table, bits);
  dcz_bits_skip(bits, found >> 16);
  return found & 0xffff;
}

/* `count` symbols of one byte. */
void dcz_table_bytes(const dcz_table *table, dcz_bits *bits, uint8_t *to, uint32_t count);

/* `value` with its lowest `count` bits in the opposite order. */
uint32_t dcz_reversed(uint32_t value, uint32_t count);

/* So many symbols, one after the other. */
typedef struct {
  dcz_input input; /* up to the stream's end */
  dcz_bits bits;
  const dcz_table *table;
  uint32_t left;
} dcz_stream;

/* Of `count` symbols in the `length` bytes at `input`, which goes behind them. */
void dcz_stream_open(dcz_stream *stream, dcz_input *input, uint32_t length, const dcz_table *table,
                     uint32_t count);

static inline uint32_t dcz_stream_next(dcz_stream *stream) {
  --stream->left;
  if (dcz_table_size(stream->table) == 1) return stream->table->symbols[0];
  return dcz_table_next(stream->table, &stream->bits);
}

/* After the last symbol: checks that the stream ends there. */
dcz_error dcz_stream_end(dcz_stream *stream);

#endif
