/* The decoder for WebAssembly: one tensor, from its payload to dense bytes, a slice at a time.

   JavaScript reads the index. It describes a tensor in `request`, puts the payload to `heap` and
   the work buffer behind it. Nothing is allocated here. */
#include <stdint.h>
#include <string.h>

#include "crc.h"
#include "full/full.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

enum { SLICE_BYTES = 65536 };

/* What JavaScript writes, and reads back. */
static struct {
  uint32_t coder, dtype, axes, size, rows, cols; /* as in dcz_tensor */
  uint32_t payload, length;                      /* its address and bytes */
  uint32_t work, work_bytes;                     /* the work buffer's address; measured here */
  uint32_t shape[DCZ_AXES];
} request;

static uint8_t slice[SLICE_BYTES];
static dcz_file file;
static dcz_tensor tensor;
static dcz_rows rows;
static uint32_t left; /* elements of the group at hand, coder `device` */

extern uint8_t __heap_base[];

/* Addresses. */
void *EXPORT(address_of_request)(void) { return &request; }
void *EXPORT(address_of_slice)(void) { return slice; }
void *EXPORT(address_of_heap)(void) { return __heap_base; }

/* The CRC-32 of bytes, continued from that of the bytes before. */
uint32_t EXPORT(crc)(uint32_t start, const uint8_t *bytes, uint32_t length) {
  return crc_of(start, bytes, length);
}

/* Takes over the request, and measures its work buffer. */
dcz_error EXPORT(measure)(void) {
  memset(&file, 0, sizeof file);
  file.source.memory = (const uint8_t *)request.payload;
  file.source.size = request.length;
  memset(&tensor, 0, sizeof tensor);
  tensor.coder = (uint8_t)request.coder;
  tensor.dtype = (uint8_t)request.dtype;
  tensor.ndim = (uint8_t)request.axes;
  tensor.size = (uint8_t)request.size;
  tensor.rows = request.rows;
  tensor.cols = request.cols;
  tensor.length = request.length;
  memcpy(tensor.shape, request.shape, sizeof tensor.shape);
  return dcz_work_size(&file, &tensor, &request.work_bytes);
}

/* Begins before the first element. */
dcz_error EXPORT(begin)(void) {
  left = 0;
  return dcz_rows_open(&rows, &file, &tensor, (void *)request.work, request.work_bytes);
}

/* Elements of the coder `device`, wherever rows end: a part of a group is taken for a row. */
static dcz_error next_device(uint8_t *to, uint32_t count) {
  const uint32_t size = rows.size, cols = rows.cols;
  memset(to, 0, count * size);
  while (count > 0) {
    dcz_error error = DCZ_OK;
    uint32_t part;
    if (left == 0) {
      error = dcz_group_begin(&rows);
      if (error != DCZ_OK) return error;
      left = rows.limit;
    }
    part = count < left ? count : left;
    rows.cols = part;
    DCZ_WALK(&rows, column, symbol, {
      if (size == 1) {
        to[column] = (uint8_t)symbol;
      } else {
        memcpy(to + column * size, rows.codebook + symbol * size, size);
      }
    })
    rows.cols = cols;
    rows.column -= part;
    left -= part;
    if (left == 0) {
      rows.row = rows.behind;
      error = dcz_group_end(&rows);
    } else {
      error = rows.bytes.error;
    }
    if (error != DCZ_OK) return error;
    to += part * size;
    count -= part;
  }
  return DCZ_OK;
}

/* The next `count` elements, which fit the slice. */
dcz_error EXPORT(next)(uint32_t count) {
  if (tensor.coder == DCZ_DEVICE) return next_device(slice, count);
  return dcz_full_next(rows.full, slice, count);
}
