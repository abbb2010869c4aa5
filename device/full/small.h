/* The coder `small`: survivors and codes by adaptive probabilities, or survivors and values. */
#ifndef DCZ_SMALL_H
#define DCZ_SMALL_H

#include "adaptive.h"

typedef struct {
  dcz_adaptive adaptive;
  dcz_elements elements;
  uint32_t left;      /* elements */
  uint8_t known, all; /* known: all survive, or none */
  uint8_t codes;
} dcz_small;

dcz_error dcz_small_open(dcz_small *small, dcz_work *work, const dcz_source *source,
                         const dcz_tensor *tensor);

/* The next `count` elements. Errors are found with the last element at the latest. */
dcz_error dcz_small_next(dcz_small *small, uint8_t *to, uint32_t count);

#endif
