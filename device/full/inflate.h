/* A DEFLATE stream (RFC 1951), inflated some bytes at a time. */
#ifndef DCZ_INFLATE_H
#define DCZ_INFLATE_H

#include "table.h"
#include "work.h"

#define DCZ_LITERALS 288
#define DCZ_DISTANCES 32

typedef struct {
  dcz_input input;
  dcz_bits bits;
  dcz_table literals, distances;
  uint32_t literal_quick[1u << DCZ_TABLE_BITS], distance_quick[1u << DCZ_TABLE_BITS];
  uint16_t literal_symbols[DCZ_LITERALS], distance_symbols[DCZ_DISTANCES];
  uint8_t *window;         /* the last bytes */
  uint32_t mask;           /* a power of two that it holds - 1 */
  uint32_t made;           /* bytes so far */
  uint32_t left, distance; /* bytes of a copy, or of a stored block */
  uint8_t state, last;
} dcz_inflater;

/* The bytes that a window takes for a stream of `size` bytes. */
uint32_t dcz_inflate_window(uint32_t size);

void dcz_inflate_open(dcz_inflater *inflater, const dcz_source *source, uint32_t at, uint32_t end,
                      uint8_t *window, uint32_t window_bytes);

/* Makes `to` go on where `from` is, with the window that it has. */
void dcz_inflate_copy(dcz_inflater *to, const dcz_inflater *from);

/* Puts `count` bytes to `to`, `stride` bytes apart. */
dcz_error dcz_inflate_next(dcz_inflater *inflater, uint8_t *to, uint32_t stride, uint32_t count);

/* After the last byte: checks that the stream ends here, and its bytes too. */
dcz_error dcz_inflate_end(dcz_inflater *inflater);

#endif
