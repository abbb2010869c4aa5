/* Coded weights of one filter after the other -> entries with offsets into the window. */
#include "nn_coded.h"
#include "nn_conv.h"

/* The decoder takes the begin of the work buffer; with the coder `raw`, a row of float32 follows.
 */
static dcz_error dcz_open_filters(const dcz_weights *weights, uint32_t rows, uint32_t cols,
                                  dcz_filter *filter) {
  const dcz_error error = dcz_open_weights(&filter->rows, weights, filter->dtype, rows, cols,
                                           filter->work, filter->size);
  uint32_t taken = filter->rows.taken;
  if (error != DCZ_OK) return error;
  filter->values = (const float *)(const void *)filter->rows.codebook;
  if (filter->rows.coder == DCZ_RAW && filter->dtype == DCZ_F32) {
    if (cols > 32767) return DCZ_ERROR_SIZE;
    filter->values = (const float *)(const void *)(filter->work + taken);
    taken += cols * 4;
  }
  if (taken > filter->size) return DCZ_ERROR_WORK;
  filter->entries = (dcz_survivor *)(void *)(filter->work + taken);
  filter->room = (filter->size - taken) / (uint32_t)sizeof(dcz_survivor);
  return DCZ_OK;
}

DCZ_APART static dcz_error dcz_unpack_raw(const dcz_window *window, dcz_filter *filter) {
  dcz_rows *const rows = &filter->rows;
  dcz_tap tap = {0, 0, 0};
  dcz_error error = dcz_raw_row(rows);
  for (uint32_t column = 0; error == DCZ_OK && column < rows->cols; ++column) {
    uint32_t bits;
    int16_t code = (int16_t)column;
    if (rows->size == 1) {
      bits = dcz_cursor_byte(&rows->bytes);
      code = (int8_t)bits;
    } else {
      bits = dcz_raw_bits(&rows->bytes);
      ((uint32_t *)(uintptr_t)filter->values)[column] = bits;
    }
    if (column > 0) dcz_advance(&tap, window, 1);
    if (bits != 0) error = dcz_add_entry(filter, window, &tap, code);
  }
  return error != DCZ_OK ? error : rows->bytes.error;
}

/* Apart, as dcz_unpack_raw is, because opening needs the deepest stack. */
DCZ_APART static dcz_error dcz_unpack_device(const dcz_window *window, dcz_filter *filter) {
  dcz_error error = dcz_row_begin(&filter->rows);
  if (error != DCZ_OK) return error;
  dcz_tap tap = {0, 0, 0};
  uint32_t before = 0;
  /* the symbol of a filler */
  const uint32_t zero = filter->dtype == DCZ_I8 ? 0 : filter->rows.centroids;
  DCZ_WALK(&filter->rows, column, symbol, {
    dcz_advance(&tap, window, column - before);
    before = column;
    if (error == DCZ_OK && symbol != zero)
      error = dcz_add_entry(filter, window, &tap,
                            filter->dtype == DCZ_I8 ? (int16_t)(int8_t)symbol : (int16_t)symbol);
  })
  return error != DCZ_OK ? error : dcz_row_end(&filter->rows);
}

dcz_error dcz_unpack_coded(const dcz_weights *weights, const dcz_window *window, uint32_t rows,
                           uint32_t cols, uint32_t row, dcz_filter *filter) {
  const dcz_error error = row == 0 ? dcz_open_filters(weights, rows, cols, filter) : DCZ_OK;
  if (error != DCZ_OK) return error;
  filter->count = 0;
  return filter->rows.coder == DCZ_RAW ? dcz_unpack_raw(window, filter)
                                       : dcz_unpack_device(window, filter);
}
