/* What layers with coded weights share: the rows of a tensor, and elements of the coder `raw`. */
#ifndef DCZ_NN_CODED_H
#define DCZ_NN_CODED_H

#include "nn.h"

/* Centroids are used as they lie in the file. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "layers with coded weights need a little-endian machine"
#endif

/* Opens the tensor of `weights`, if it has this dtype and shape. */
dcz_error dcz_open_weights(dcz_rows *rows, const dcz_weights *weights, uint8_t dtype,
                           uint32_t count, uint32_t cols, void *work, uint32_t size);

/* For the coder `raw`: brings the next row's bytes to `rows->bytes`. */
dcz_error dcz_raw_row(dcz_rows *rows);

/* The bytes at hand, `left` at most; one at least. */
static inline uint32_t dcz_at_hand(dcz_cursor *cursor, uint32_t left) {
  if (cursor->now == cursor->stop) dcz_cursor_more(cursor);
  const uint32_t count = (uint32_t)(cursor->stop - cursor->now);
  return count < left ? count : left;
}

/* An element of float32, as its bits. */
static inline uint32_t dcz_raw_bits(dcz_cursor *cursor) {
  const uint32_t at_hand = dcz_at_hand(cursor, 4);
  uint8_t byte[4];
  const uint8_t *from = cursor->now;
  if (at_hand < 4) {
    for (uint32_t i = 0; i < 4; ++i) byte[i] = dcz_cursor_byte(cursor);
    from = byte;
  } else {
    cursor->now += 4;
  }
  return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

#endif
