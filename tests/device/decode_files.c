/* Decodes files, one after the other: decode_files memory, or decode_files callback [READS], where
   the callback fails after so many reads.

   Standard input: for each file, its length as a u32 and its bytes. Standard output: the error of
   dcz_open as a u8; if that is 0, the number of tensors as a u32, and for each tensor an error as a
   u8 and, if that is 0, the bytes of all rows after their number as a u32. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"

/* A tensor of more decoded bytes is refused, as Python's reader does at its limit. */
#define LIMIT_BYTES (1u << 21)

typedef struct {
  const uint8_t* bytes;
  uint32_t size, reads; /* reads: that still succeed */
} given;

static uint32_t reads = ~0u;

static dcz_error read_given(void* user, uint32_t offset, void* to, uint32_t length) {
  given* const from = (given*)user;
  if (from->reads == 0) return DCZ_ERROR_READ;
  --from->reads;
  if (length > from->size || offset > from->size - length) abort(); /* "never behind the file's end" */
  memcpy(to, from->bytes + offset, length);
  return DCZ_OK;
}

static void put_u32(uint32_t value) {
  uint8_t bytes[4];
  int i;
  for (i = 0; i < 4; ++i) bytes[i] = (uint8_t)(value >> (8 * i));
  fwrite(bytes, 1, 4, stdout);
}

/* All rows of a tensor, in a work buffer of exactly its size, and in one that is one byte smaller. */
static dcz_error decode(const dcz_file* file, uint32_t number, uint8_t** bytes, uint32_t* length) {
  dcz_tensor tensor;
  dcz_rows rows;
  uint32_t size, row;
  uint8_t* work;
  dcz_error error = dcz_at(file, number, &tensor);
  if (error == DCZ_OK && (uint64_t)tensor.rows * tensor.cols * tensor.size > LIMIT_BYTES) error = DCZ_ERROR_SIZE;
  if (error == DCZ_OK) error = dcz_check(file, &tensor);
  if (error == DCZ_OK) error = dcz_work_size(file, &tensor, &size);
  if (error != DCZ_OK) return error;
  if (size > 0) {
    work = malloc(size - 1);
    if (dcz_rows_open(&rows, file, &tensor, work, size - 1) == DCZ_OK) abort();
    free(work);
  }
  work = malloc(size);
  *length = tensor.rows * tensor.cols * tensor.size;
  *bytes = malloc(*length > 0 ? *length : 1);
  error = dcz_rows_open(&rows, file, &tensor, work, size);
  for (row = 0; row < tensor.rows && error == DCZ_OK; ++row) {
    error = dcz_rows_next(&rows, *bytes + (size_t)row * tensor.cols * tensor.size);
  }
  if (error == DCZ_OK && dcz_rows_next(&rows, *bytes) != DCZ_ERROR_RANGE) abort();
  if (error == DCZ_OK && tensor.rows > 2 && tensor.cols > 0) {
    /* again from the middle, in both directions */
    const uint32_t bytes_of_row = tensor.cols * tensor.size;
    uint8_t* const again = malloc(bytes_of_row);
    const uint32_t places[3] = {tensor.rows / 2, tensor.rows - 1, 0};
    int i;
    for (i = 0; i < 3 && error == DCZ_OK; ++i) {
      error = dcz_rows_seek(&rows, places[i]);
      if (error == DCZ_OK) error = dcz_rows_next(&rows, again);
      if (error == DCZ_OK && memcmp(again, *bytes + (size_t)places[i] * bytes_of_row, bytes_of_row) != 0) {
        abort();
      }
    }
    free(again);
  }
  free(work);
  return error;
}

static void decode_file(const uint8_t* bytes, uint32_t size, int callback) {
  given from = {bytes, size, reads};
  dcz_source source = {bytes, NULL, NULL, size};
  dcz_file file;
  dcz_error error;
  uint32_t i;
  if (callback) {
    source.memory = NULL;
    source.read = read_given;
    source.user = &from;
  }
  error = dcz_open(&file, &source);
  putchar((int)error);
  if (error != DCZ_OK) return;
  put_u32(file.tensors);
  for (i = 0; i < file.tensors; ++i) {
    uint8_t* found = NULL;
    uint32_t length = 0;
    error = decode(&file, i, &found, &length);
    putchar((int)error);
    if (error == DCZ_OK) {
      put_u32(length);
      fwrite(found, 1, length, stdout);
    }
    free(found);
  }
}

int main(int argc, char** argv) {
  const int callback = argc > 1 && strcmp(argv[1], "callback") == 0;
  uint8_t head[4];
  if (argc > 2) reads = (uint32_t)strtoul(argv[2], NULL, 10);
  while (fread(head, 1, 4, stdin) == 4) {
    const uint32_t size = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
    /* exactly as large, so that sanitizers see each byte beyond */
    uint8_t* const bytes = malloc(size > 0 ? size : 1);
    if (fread(bytes, 1, size, stdin) != size) return 1;
    decode_file(bytes, size, callback);
    free(bytes);
  }
  return 0;
}
