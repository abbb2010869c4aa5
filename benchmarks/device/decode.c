/* A tensor decoded at once, for benchmarks that call C from Python. */
#include <stddef.h>

#include "rows.h"

dcz_error decode_work(const uint8_t *bytes, uint32_t size, uint32_t number, uint32_t *work_size) {
  const dcz_source source = {bytes, NULL, NULL, size};
  dcz_tensor tensor;
  dcz_file file;
  dcz_error error = dcz_open(&file, &source);
  if (error == DCZ_OK) error = dcz_at(&file, number, &tensor);
  return error != DCZ_OK ? error : dcz_work_size(&file, &tensor, work_size);
}

dcz_error decode(const uint8_t *bytes, uint32_t size, uint32_t number, void *work,
                 uint32_t work_size, uint8_t *to) {
  const dcz_source source = {bytes, NULL, NULL, size};
  dcz_tensor tensor;
  dcz_file file;
  dcz_rows rows;
  uint32_t row;
  dcz_error error = dcz_open(&file, &source);
  if (error == DCZ_OK) error = dcz_at(&file, number, &tensor);
  if (error == DCZ_OK) error = dcz_rows_open(&rows, &file, &tensor, work, work_size);
  for (row = 0; error == DCZ_OK && row < tensor.rows; ++row) {
    error = dcz_rows_next(&rows, to);
    to += tensor.cols * tensor.size;
  }
  return error;
}
