/* Whole files with every coder, in memory and through a callback: the same errors or the same rows.

   The checksum of the index is set right and those of payloads are not looked at, so that the
   fuzzer reaches what lies behind them. */
#include <stdlib.h>
#include <string.h>

#include "rows.h"

/* A larger tensor, or one that takes a larger work buffer, is passed over. */
#define LIMIT_BYTES (1u << 20)
#define MOST_TENSORS 16

typedef struct {
  const uint8_t *bytes;
  uint32_t size;
} given;

static dcz_error read_given(void *user, uint32_t offset, void *to, uint32_t length) {
  const given *const from = (const given *)user;
  if (length > from->size || offset > from->size - length) abort();
  memcpy(to, from->bytes + offset, length);
  return DCZ_OK;
}

/* "crc of everything before it", at the end of the index. */
static void repair(uint8_t *bytes, size_t size) {
  size_t at = 5, length = 0, shift = 0;
  uint32_t checksum, i;
  for (; at < size && shift < 28; shift += 7) {
    length |= (size_t)(bytes[at] & 0x7f) << shift;
    if (bytes[at++] < 0x80) break;
  }
  if (size < 4 || at > size - 4 || length > size - 4 - at) return;
  checksum = dcz_crc(0, bytes, (uint32_t)(at + length));
  for (i = 0; i < 4; ++i) bytes[at + length + i] = (uint8_t)(checksum >> (8 * i));
}

/* The rows of a tensor, or NULL and the error. */
static uint8_t *decode(const dcz_file *file, const dcz_tensor *tensor, dcz_error *error) {
  const size_t bytes_of_row = (size_t)tensor->cols * tensor->size;
  uint32_t size = 0, row;
  uint8_t *rows_bytes, *work;
  dcz_rows rows;
  *error = dcz_work_size(file, tensor, &size);
  if (*error == DCZ_OK && size > 16 * LIMIT_BYTES) *error = DCZ_ERROR_SIZE;
  if (*error != DCZ_OK) return NULL;
  work = malloc(size + 1);
  rows_bytes = malloc(bytes_of_row * tensor->rows + 1);
  *error = dcz_rows_open(&rows, file, tensor, work, size);
  if (*error == DCZ_ERROR_WORK) abort();
  for (row = 0; row < tensor->rows && *error == DCZ_OK; ++row) {
    *error = dcz_rows_next(&rows, rows_bytes + row * bytes_of_row);
  }
  free(work);
  if (*error == DCZ_OK) return rows_bytes;
  free(rows_bytes);
  return NULL;
}

static void compare(const dcz_file *one, const dcz_file *other) {
  uint32_t i;
  for (i = 0; i < one->tensors && i < MOST_TENSORS; ++i) {
    dcz_tensor tensor, same;
    dcz_error error = dcz_at(one, i, &tensor), found;
    uint8_t *bytes, *others;
    if (error != dcz_at(other, i, &same)) abort();
    if (error != DCZ_OK || memcmp(tensor.shape, same.shape, sizeof tensor.shape) != 0) continue;
    if ((uint64_t)tensor.rows * tensor.cols * tensor.size > LIMIT_BYTES) continue;
    bytes = decode(one, &tensor, &error);
    others = decode(other, &same, &found);
    if (error != found) abort();
    if (bytes != NULL &&
        memcmp(bytes, others, (size_t)tensor.rows * tensor.cols * tensor.size) != 0) {
      abort();
    }
    free(bytes);
    free(others);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t *const bytes = malloc(size + 1);
  given from = {bytes, (uint32_t)size};
  dcz_source memory = {bytes, NULL, NULL, (uint32_t)size},
             callback = {NULL, read_given, &from, (uint32_t)size};
  dcz_file one, other;
  dcz_error error;
  if (size > 0) memcpy(bytes, data, size);
  repair(bytes, size);
  error = dcz_open(&one, &memory);
  if (error != dcz_open(&other, &callback)) abort();
  if (error == DCZ_OK) compare(&one, &other);
  free(bytes);
  return 0;
}
