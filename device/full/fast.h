/* The coder `fast`: a bitmap of the survivors, and their values or codes as they are asked for. */
#ifndef DCZ_FAST_H
#define DCZ_FAST_H

#include "elements.h"
#include "mask.h"

typedef struct {
  dcz_bitmap bitmap;
  dcz_elements elements;
  uint32_t at; /* the next element */
  uint32_t survivors;
} dcz_fast;

/* Takes memory and, if `work` has it, reads the mask. Everything but the symbols of values or codes
   is checked. */
dcz_error dcz_fast_open(dcz_fast *fast, dcz_work *work, const dcz_source *source,
                        const dcz_tensor *tensor);

/* The next `count` elements. Errors in the symbols are found with the last element at the latest.
 */
dcz_error dcz_fast_next(dcz_fast *fast, uint8_t *to, uint32_t count);

#endif
