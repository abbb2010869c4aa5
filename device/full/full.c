/* From a tensor's coder to its decoder. */
#include "full.h"

#ifdef DCZ_FULL

#include <string.h>

#include "deflate.h"
#include "fast.h"
#include "paper.h"
#include "small.h"

struct dcz_full {
  const dcz_file *file;
  dcz_tensor tensor;
  uint32_t at, size; /* the next element; bytes of the work buffer */
  dcz_error error;   /* the first one since the beginning */
  union {
#ifdef DCZ_WITH_FAST
    dcz_fast fast;
#endif
#ifdef DCZ_WITH_SMALL
    dcz_small small;
#endif
#ifdef DCZ_WITH_DEFLATE
    dcz_deflate deflate;
#endif
#if defined(DCZ_WITH_SPARSE) || defined(DCZ_WITH_HUFFMAN)
    dcz_paper paper;
#endif
    uint8_t none;
  } of;
};

/* Takes the memory of the tensor's decoder and, if `work` has it, makes it ready. */
static dcz_error begin(dcz_full *full, dcz_work *work, const dcz_source *source,
                       const dcz_tensor *tensor) {
  switch (tensor->coder) {
#ifdef DCZ_WITH_SPARSE
    case DCZ_SPARSE:
      return dcz_paper_open(&full->of.paper, work, source, tensor);
#endif
#ifdef DCZ_WITH_HUFFMAN
    case DCZ_HUFFMAN:
      return dcz_paper_open(&full->of.paper, work, source, tensor);
#endif
#ifdef DCZ_WITH_FAST
    case DCZ_FAST:
      return dcz_fast_open(&full->of.fast, work, source, tensor);
#endif
#ifdef DCZ_WITH_SMALL
    case DCZ_SMALL:
      return dcz_small_open(&full->of.small, work, source, tensor);
#endif
#ifdef DCZ_WITH_DEFLATE
    case DCZ_DEFLATE:
      return dcz_deflate_open(&full->of.deflate, work, source, tensor);
#endif
    default:
      (void)full;
      (void)work;
      (void)source;
      return DCZ_ERROR_CODER;
  }
}

/* Of a buffer that is aligned to 4 bytes alone, so many may not be used. */
enum { SLACK = 4 };

dcz_error dcz_full_size(const dcz_file *file, const dcz_tensor *tensor, uint32_t *bytes) {
  dcz_full full;
  dcz_work work;
  dcz_error error;
  uint64_t taken;
  work.next = NULL;
  work.left = DCZ_WORK_COUNT;
  dcz_work_take(&work, sizeof full);
  error = begin(&full, &work, &file->source, tensor);
  taken = DCZ_WORK_COUNT - work.left + SLACK;
  *bytes = (uint32_t)taken;
  return error == DCZ_OK && taken > UINT32_MAX ? DCZ_ERROR_SIZE : error;
}

static dcz_error restart(dcz_full *full) {
  dcz_work work;
  dcz_error error;
  work.next = (uint8_t *)full;
  work.left = full->size;
  dcz_work_take(&work, sizeof *full);
  full->at = 0;
  error = begin(full, &work, &full->file->source, &full->tensor);
  if (error == DCZ_OK && work.next == NULL) error = DCZ_ERROR_WORK;
  return full->error = error;
}

dcz_error dcz_full_open(dcz_full **full, const dcz_file *file, const dcz_tensor *tensor, void *work,
                        uint32_t size) {
  const uint32_t lost = (uint32_t)((uintptr_t)work & 4);
  if (((uintptr_t)work & 3) != 0 || size < sizeof **full + SLACK) return DCZ_ERROR_WORK;
  *full = (dcz_full *)(void *)((uint8_t *)work + lost);
  (*full)->file = file;
  (*full)->tensor = *tensor;
  (*full)->size = size - SLACK;
  return restart(*full);
}

static dcz_error next(dcz_full *full, uint8_t *to, uint32_t count) {
  switch (full->tensor.coder) {
#ifdef DCZ_WITH_FAST
    case DCZ_FAST:
      return dcz_fast_next(&full->of.fast, to, count);
#endif
#ifdef DCZ_WITH_SMALL
    case DCZ_SMALL:
      return dcz_small_next(&full->of.small, to, count);
#endif
#ifdef DCZ_WITH_DEFLATE
    case DCZ_DEFLATE:
      return dcz_deflate_next(&full->of.deflate, to, count);
#endif
    default:
#if defined(DCZ_WITH_SPARSE) || defined(DCZ_WITH_HUFFMAN)
      return dcz_paper_next(&full->of.paper, to, count);
#else
      (void)to;
      return DCZ_ERROR_CODER;
#endif
  }
}

dcz_error dcz_full_next(dcz_full *full, void *to, uint32_t count) {
  full->at += count;
  if (full->error == DCZ_OK) full->error = next(full, (uint8_t *)to, count);
  return full->error;
}

dcz_error dcz_full_seek(dcz_full *full, uint32_t element) {
  uint8_t passed[64];
  dcz_error error = element < full->at ? restart(full) : full->error;
  while (error == DCZ_OK && full->at < element) {
    const uint32_t most = (uint32_t)sizeof passed / full->tensor.size, left = element - full->at;
    error = dcz_full_next(full, passed, left < most ? left : most);
  }
  return error;
}

#else
typedef int dcz_no_coder; /* a file in C has a declaration */
#endif
