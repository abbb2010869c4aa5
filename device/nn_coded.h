/* What layers with coded weights share: the rows of a tensor, and elements of the coder `raw`. */
#ifndef DCZ_NN_CODED_H
#define DCZ_NN_CODED_H

#include "nn.h"

/* Opens the tensor of `weights`, if it has this dtype and shape. */
dcz_error dcz_open_weights(dcz_rows *rows, const dcz_weights *weights, uint8_t dtype,
                           uint32_t count, uint32_t cols, void *work, uint32_t size);

/* For the coder `raw`: brings the next row's bytes to `rows->bytes`, through `buffer` (DCZ_BUFFER
   bytes) if a callback reads them. */
dcz_error dcz_raw_row(dcz_rows *rows, uint8_t *buffer);

static inline uint8_t dcz_raw_byte(dcz_cursor *cursor) {
  if (cursor->now == cursor->stop) dcz_cursor_more(cursor);
  return *cursor->now++;
}

/* An element of float32, as its bits. */
static inline uint32_t dcz_raw_bits(dcz_cursor *cursor) {
  uint32_t bits = dcz_raw_byte(cursor);
  bits |= (uint32_t)dcz_raw_byte(cursor) << 8;
  bits |= (uint32_t)dcz_raw_byte(cursor) << 16;
  return bits | (uint32_t)dcz_raw_byte(cursor) << 24;
}

#endif
