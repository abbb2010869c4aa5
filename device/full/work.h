/* The caller's work buffer, given out piece by piece; or only counted. */
#ifndef DCZ_WORK_H
#define DCZ_WORK_H

#include <stddef.h>

#include "../dcz.h"

typedef struct {
  uint8_t *next; /* NULL: count alone */
  uint64_t left; /* counting: 2^63 - what was taken */
} dcz_work;

#define DCZ_WORK_COUNT (UINT64_C(1) << 63)

/* Pieces are aligned to 8 bytes, in a buffer aligned to 4. */
static inline void *dcz_work_take(dcz_work *work, uint64_t bytes) {
  void *const piece = work->next;
  bytes = (bytes + 7) & ~UINT64_C(7);
  if (bytes > work->left) {
    work->left = 0;
    work->next = NULL;
    return NULL;
  }
  work->left -= bytes;
  if (piece != NULL) work->next += bytes;
  return piece;
}

#endif
