/* Tensors of a file as the weights of layers. */
#include "nn_coded.h"

dcz_error dcz_open_weights(dcz_rows *rows, const dcz_weights *weights, uint8_t dtype,
                           uint32_t count, uint32_t cols, void *work, uint32_t size) {
  dcz_tensor tensor;
  const dcz_error error = dcz_at(weights->file, weights->number, &tensor);
  if (error != DCZ_OK) return error;
  if (tensor.dtype != dtype || tensor.rows != count || tensor.cols != cols) return DCZ_ERROR_SIZE;
  return dcz_rows_open(rows, weights->file, &tensor, work, size);
}

dcz_error dcz_raw_row(dcz_rows *rows) {
  const uint32_t bytes = rows->cols * rows->size, begin = rows->first + rows->row * bytes;
  ++rows->row;
  dcz_cursor_set(&rows->bytes, begin, begin + bytes);
  return rows->bytes.error;
}
