/* Blocks: symbols of one byte, from first to last, a few hundred at a time. docs/format.md,
   "Block". */
#ifndef DCZ_BLOCK_H
#define DCZ_BLOCK_H

#include "table.h"

#define DCZ_LANES 64

/* Segments of narrow or wide lanes. docs/format.md, "Lanes". */
typedef struct {
  uint64_t unused[DCZ_LANES]; /* each lane's window, from its next bit on */
  uint8_t used[DCZ_LANES];    /* bits that its window has lost */
  dcz_input lengths, exceptions;
  uint32_t segments,
      short_rounds; /* those left; rounds of a segment that has one less than the longest */
  uint32_t longer;  /* segments left that have one round more */
  uint32_t rounds, segment_end; /* left in this segment; where it ends */
  uint32_t exceptions_left, distance;
  uint16_t rare_size;
  uint8_t exception, rare[256];
} dcz_lanes;

typedef struct {
  const uint8_t *next, *limit; /* symbols at hand */
  uint32_t left;               /* those behind `limit` */
  uint32_t after;              /* where the block ends in the source */
  uint16_t alphabet;
  uint8_t layout;
  dcz_error error;
  dcz_stream stream; /* its input is that of every layout */
  dcz_table table;
  uint32_t quick[1u << DCZ_TABLE_BITS]; /* wide lanes: 8 bits -> length | first symbol << 8 | mask
                                           of further bits << 16 */
  uint16_t symbols[256];
#ifdef DCZ_ROOMY
  uint32_t mask;             /* of the longest code's bits */
  uint16_t direct[1u << 14]; /* of lanes: such bits -> length | symbol << 8 */
#endif
  dcz_lanes lanes;
  uint8_t out[8 * DCZ_LANES];
} dcz_block;

/* The block of `count` symbols below `alphabet` between two offsets of the source. */
dcz_error dcz_block_open(dcz_block *block, const dcz_source *source, uint32_t at, uint32_t end,
                         uint32_t count, uint32_t alphabet);

/* Makes symbols be at hand if some are left; zeros behind an error. */
void dcz_block_fill(dcz_block *block);

/* The next symbol; there must be one. */
static inline uint8_t dcz_block_next(dcz_block *block) {
  if (block->next == block->limit) dcz_block_fill(block);
  return *block->next++;
}

/* After the last symbol: checks that the bytes end there. */
dcz_error dcz_block_end(dcz_block *block);

/* For block.c alone. */
dcz_error dcz_lanes_open(dcz_block *block, dcz_input *input, uint32_t count);
void dcz_lanes_round(dcz_block *block, uint32_t count);
dcz_error dcz_lanes_end(dcz_block *block);

#endif
