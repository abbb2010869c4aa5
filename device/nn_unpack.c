/* Packed weights of one filter after the other -> entries with offsets into the window. */
#include <string.h>

#include "nn_conv.h"

static int dcz_is_zero(const dcz_weights *weights, uint8_t code) {
  if (!weights->codebook) return code == 0;
  uint32_t bits;
  memcpy(&bits, &weights->codebook[code], sizeof bits);
  return bits == 0;
}

dcz_error dcz_unpack_packed(const dcz_weights *weights, const dcz_window *window, uint32_t rows,
                            uint32_t cols, uint32_t row, dcz_filter *filter) {
  (void)rows, (void)cols;
  if (row == 0) {
    filter->pairs = weights->pairs;
    filter->values = weights->codebook;
    filter->entries = (dcz_survivor *)(void *)filter->work;
    filter->room = filter->size / (uint32_t)sizeof(dcz_survivor);
  }
  filter->count = 0;
  dcz_tap tap = {0, 0, 0};
  const uint8_t *pair = filter->pairs, *end = pair + 2 * weights->counts[row];
  for (uint32_t step = 0; pair != end; pair += 2, step = 1) {
    dcz_advance(&tap, window, pair[0] + step);
    if (dcz_is_zero(weights, pair[1])) continue;
    const int16_t code = weights->codebook ? (int16_t)pair[1] : (int16_t)(int8_t)pair[1];
    const dcz_error error = dcz_add_entry(filter, window, &tap, code);
    if (error != DCZ_OK) return error;
  }
  filter->pairs = end;
  return DCZ_OK;
}
