/* Reads files from its standard input by the C source, from memory and through a callback, and prints what is in them.

   A file is its number of bytes, as 4 bytes with the lowest first, then the bytes. For each comes a line

       file ERROR WORK                  the error of opening it, and its metadata `device.work` or "-"

   and for each tensor, by its number,

       tensor ERROR NAME CODER DTYPE NDIM ROWS COLS SIZE WORK CHECKED READ ELEMENTS

   The errors are of finding it, of its checksum, and of reading its rows; NAME and ELEMENTS are in hexadecimal, "-" if
   there are none. Rows are read again after seeking each of them, with a work buffer that is one byte too small or
   not aligned, and with the argument `failures` with a callback that fails at each of its calls, or gives another byte
   from there on. Anything that is not as dcz.h and rows.h say ends the program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"

#define PROMISE(holds)                                          \
  if (!(holds)) {                                               \
    fprintf(stderr, "line %d: " #holds " is wrong\n", __LINE__); \
    exit(1);                                                    \
  }

enum { FAILED = 1000, MOST_BYTES = 1 << 24 };

/* A file behind a callback that may fail at one of its calls, or has another byte somewhere from one on. */
typedef struct {
  const uint8_t *bytes;
  uint32_t size, calls, fails_at, lies_from, lie;
  uint8_t flipped;
} remote;

static dcz_error read_remote(void *user, uint32_t offset, void *to, uint32_t length) {
  remote *const from = (remote *)user;
  PROMISE(offset <= from->size && length <= from->size - offset && length > 0)
  if (++from->calls == from->fails_at) return (dcz_error)FAILED;
  memcpy(to, from->bytes + offset, length);
  if (from->calls >= from->lies_from && from->lie - offset < length) ((uint8_t *)to)[from->lie - offset] ^= from->flipped;
  return DCZ_OK;
}

static void print_hex(const uint8_t *bytes, uint32_t count) {
  if (count == 0) printf("-");
  for (; count > 0; --count) printf("%02x", *bytes++);
}

/* All rows, at `elements`. */
static dcz_error read_rows(const dcz_file *file, const dcz_tensor *tensor, uint8_t *elements) {
  const uint32_t row_bytes = tensor->cols * tensor->size;
  dcz_rows rows;
  uint32_t size, row;
  dcz_error error = dcz_work_size(file, tensor, &size);
  uint8_t *work;
  if (error != DCZ_OK) return error;
  work = (uint8_t *)malloc(size + 1);
  if (size > 0) {
    error = dcz_rows_open(&rows, file, tensor, work, size - 1);
    PROMISE(error == DCZ_ERROR_WORK || (int)error == FAILED)
    if (error != DCZ_ERROR_WORK) {
      free(work);
      return error;
    }
    PROMISE(dcz_rows_open(&rows, file, tensor, work + 1, size) == DCZ_ERROR_WORK)
    PROMISE(dcz_rows_open(&rows, file, tensor, NULL, 0) != DCZ_OK)
  }
  work = (uint8_t *)realloc(work, size > 0 ? size : 1);
  error = dcz_rows_open(&rows, file, tensor, work, size);
  for (row = 0; row < tensor->rows && error == DCZ_OK; ++row) {
    uint8_t *const to = (uint8_t *)malloc(row_bytes > 0 ? row_bytes : 1);
    error = dcz_rows_next(&rows, to);
    if (error == DCZ_OK) memcpy(elements + row * row_bytes, to, row_bytes);
    free(to);
  }
  if (error == DCZ_OK) PROMISE(dcz_rows_next(&rows, NULL) == DCZ_ERROR_RANGE)
  if (error == DCZ_OK && row_bytes > 0 && tensor->rows < 200) {
    uint8_t *const again = (uint8_t *)malloc(row_bytes);
    uint32_t i;
    for (i = 0; i < 2 * tensor->rows; ++i) { /* forwards by three, and from wherever that ends */
      row = 3 * i % tensor->rows;
      error = dcz_rows_seek(&rows, row);
      if (error == DCZ_OK) error = dcz_rows_next(&rows, again);
      if (error != DCZ_OK) break;
      PROMISE(memcmp(again, elements + row * row_bytes, row_bytes) == 0)
    }
    if (error == DCZ_OK) error = dcz_rows_seek(&rows, tensor->rows);
    if (error == DCZ_OK) PROMISE(dcz_rows_next(&rows, again) == DCZ_ERROR_RANGE)
    PROMISE(error == DCZ_OK || (int)error == FAILED)
    PROMISE(dcz_rows_seek(&rows, tensor->rows + 1) == DCZ_ERROR_RANGE)
    free(again);
  }
  free(work);
  return error;
}

static dcz_error read_head(const dcz_file *file, const dcz_tensor *tensor) {
  dcz_rows rows;
  uint32_t size;
  dcz_error error = dcz_work_size(file, tensor, &size);
  uint8_t *const work = (uint8_t *)malloc(size > 0 ? size : 1);
  if (error == DCZ_OK) error = dcz_rows_open(&rows, file, tensor, work, size);
  free(work);
  return error;
}

/* One tensor: the errors of finding it, of its checksum, and of its rows. */
typedef struct {
  dcz_error found, checked, read;
} outcome;

static outcome read_tensor(const dcz_file *file, uint32_t number, dcz_tensor *tensor, uint8_t **elements) {
  outcome errors = {DCZ_OK, DCZ_OK, DCZ_OK};
  uint32_t bytes;
  *elements = NULL;
  errors.found = dcz_at(file, number, tensor);
  if (errors.found != DCZ_OK) return errors;
  errors.checked = dcz_check(file, tensor);
  bytes = tensor->rows * tensor->cols * tensor->size;
  if (bytes > MOST_BYTES) { /* no room for it here, but for its head */
    errors.read = read_head(file, tensor);
    return errors;
  }
  *elements = (uint8_t *)calloc(bytes > 0 ? bytes : 1, 1);
  errors.read = read_rows(file, tensor, *elements);
  return errors;
}

/* As `expected`, or with the error of the callback at the first thing that fails. */
static void compare(outcome found, outcome expected, int failed) {
  if (failed && (int)found.found == FAILED) return;
  PROMISE(found.found == expected.found)
  if (failed && (int)found.checked == FAILED) return;
  PROMISE(found.checked == expected.checked)
  if (failed && (int)found.read == FAILED) return;
  PROMISE(found.read == expected.read)
}

/* The same through a callback; with `fails_at`, one that fails there. Returns the number of its calls. */
static uint32_t read_through(const dcz_source *memory, dcz_error opened, uint32_t fails_at) {
  remote from = {NULL, 0, 0, 0, 0, 0, 0};
  dcz_source source = {NULL, read_remote, NULL, 0};
  dcz_file file, in_memory;
  uint32_t number;
  dcz_error error;
  from.bytes = memory->memory;
  from.size = source.size = memory->size;
  from.fails_at = fails_at;
  source.user = &from;
  error = dcz_open(&file, &source);
  if (fails_at > 0 && from.calls >= fails_at) {
    PROMISE((int)error == FAILED || (error == opened && error != DCZ_OK))
    return from.calls;
  }
  PROMISE(error == opened)
  if (error != DCZ_OK) return from.calls;
  PROMISE(dcz_open(&in_memory, memory) == DCZ_OK && in_memory.tensors == file.tensors)
  for (number = 0; number < file.tensors; ++number) {
    const uint32_t before = from.calls;
    dcz_tensor one, other;
    uint8_t *elements, *others;
    const outcome expected = read_tensor(&in_memory, number, &one, &elements);
    const outcome found = read_tensor(&file, number, &other, &others);
    const int failed = fails_at > before && fails_at <= from.calls;
    compare(found, expected, failed);
    if (failed) PROMISE((int)found.found == FAILED || (int)found.checked == FAILED || (int)found.read == FAILED)
    if (found.found == DCZ_OK && expected.read == DCZ_OK && found.read == DCZ_OK) {
      PROMISE(memcmp(elements, others, one.rows * one.cols * one.size) == 0)
    }
    free(elements);
    free(others);
  }
  return from.calls;
}

/* The rows of a tensor while the source changes: wrong bytes or an error, nothing else. Returns the calls. */
static uint32_t read_lies(dcz_file file, const dcz_tensor *tensor, remote *from, uint32_t size) {
  dcz_rows rows;
  uint8_t *const work = (uint8_t *)malloc(size), *const to = (uint8_t *)malloc(tensor->cols * tensor->size + 1);
  uint32_t i;
  for (i = 0; i < size; ++i) work[i] = i & 1 ? 0x0f : 0xff; /* a table's entry that is none: symbol 255, 15 bits */
  file.source.memory = NULL;
  file.source.read = read_remote;
  file.source.user = from;
  from->calls = 0;
  dcz_rows_open(&rows, &file, tensor, work, size);
  for (i = 0; i < tensor->rows; ++i) dcz_rows_next(&rows, to);
  free(work);
  free(to);
  return from->calls;
}

/* Each byte of each payload is another one from each call on: from the second reading of a table, too. */
static void read_changing(const dcz_source *memory) {
  dcz_file file;
  dcz_tensor tensor;
  uint32_t number, size, call, calls, flipped;
  if (dcz_open(&file, memory) != DCZ_OK) return;
  for (number = 0; number < file.tensors; ++number) {
    remote from = {NULL, 0, 0, 0, 0, 0, 0};
    if (dcz_at(&file, number, &tensor) != DCZ_OK || dcz_work_size(&file, &tensor, &size) != DCZ_OK) continue;
    from.bytes = memory->memory;
    from.size = memory->size;
    calls = read_lies(file, &tensor, &from, size + DCZ_BUFFER);
    for (call = 1; call <= calls; ++call) {
      for (from.lie = tensor.offset; from.lie < tensor.offset + (tensor.length < 60 ? tensor.length : 60); ++from.lie) {
        for (flipped = 1; flipped < 256; ++flipped) {
          from.lies_from = call;
          from.flipped = (uint8_t)flipped;
          read_lies(file, &tensor, &from, size + DCZ_BUFFER);
        }
      }
    }
  }
}

/* The name, and its length: the first room that is not too small. */
static uint32_t name_of(const dcz_file *file, uint32_t number, char *text, uint32_t room) {
  uint32_t length = 0;
  while (length + 1 < room && dcz_name(file, number, text, length + 1) == DCZ_ERROR_SIZE) ++length;
  return length;
}

static void read_file(const uint8_t *bytes, uint32_t size, int failures) {
  dcz_source source = {NULL, NULL, NULL, 0};
  dcz_file file;
  dcz_error error;
  uint32_t number, calls, call;
  char text[200] = "-";
  source.memory = bytes;
  source.size = size;
  error = dcz_open(&file, &source);
  calls = read_through(&source, error, 0);
  for (call = 1; failures && call <= calls; ++call) read_through(&source, error, call);
  if (failures) read_changing(&source);
  if (error == DCZ_OK) {
    const dcz_error found = dcz_metadata(&file, "device.work", text, sizeof text);
    PROMISE(found == DCZ_OK || found == DCZ_ERROR_NOT_FOUND || found == DCZ_ERROR_SIZE)
    if (found != DCZ_OK) strcpy(text, "-");
  }
  printf("file %d %s\n", (int)error, text);
  for (number = 0; error == DCZ_OK && number < file.tensors; ++number) {
    dcz_tensor tensor, again;
    uint8_t *elements;
    uint32_t work = 0, length;
    outcome errors;
    memset(&tensor, 0, sizeof tensor);
    errors = read_tensor(&file, number, &tensor, &elements);
    memset(text, 0, sizeof text);
    memset(&again, 0, sizeof again);
    length = name_of(&file, number, text, sizeof text);
    if (length == strlen(text)) { /* a name with a zero in it is none of C */
      const dcz_error found = dcz_find(&file, text, &again);
      PROMISE(found == errors.found || length + 1 == sizeof text)
      if (found == DCZ_OK) PROMISE(memcmp(&tensor, &again, sizeof tensor) == 0)
    }
    if (errors.found == DCZ_OK) dcz_work_size(&file, &tensor, &work);
    printf("tensor %d ", (int)errors.found);
    print_hex((const uint8_t *)text, length);
    printf(" %u %u %u %u %u %u %u %d %d ", tensor.coder, tensor.dtype, tensor.ndim, tensor.rows, tensor.cols,
           tensor.size, work, (int)errors.checked, (int)errors.read);
    print_hex(elements, errors.read == DCZ_OK && elements != NULL ? tensor.rows * tensor.cols * tensor.size : 0);
    printf("\n");
    free(elements);
  }
}

int main(int count, char **arguments) {
  const int failures = count > 1 && strcmp(arguments[1], "failures") == 0;
  uint8_t size[4];
  while (fread(size, 1, 4, stdin) == 4) {
    const uint32_t bytes = (uint32_t)size[0] | (uint32_t)size[1] << 8 | (uint32_t)size[2] << 16 | (uint32_t)size[3] << 24;
    /* exactly as large as the file, so that a byte behind it is noticed */
    uint8_t *const file = (uint8_t *)malloc(bytes > 0 ? bytes : 1);
    PROMISE(fread(file, 1, bytes, stdin) == bytes)
    read_file(file, bytes, failures);
    free(file);
  }
  return 0;
}
