/* The coder `deflate`: byte planes of one DEFLATE stream, each inflated side by side with a window
   of its own. */
#ifndef DCZ_DEFLATE_H
#define DCZ_DEFLATE_H

#include "inflate.h"

typedef struct {
  dcz_inflater *planes[8]; /* the most significant bytes first */
  uint32_t left;           /* elements */
  uint8_t size, turned;
} dcz_deflate;

/* Takes memory and, if `work` has it, inflates all planes but the last once, to find where each
   begins. */
dcz_error dcz_deflate_open(dcz_deflate *deflate, dcz_work *work, const dcz_source *source,
                           const dcz_tensor *tensor);

/* The next `count` elements. Errors are found with the last element at the latest. */
dcz_error dcz_deflate_next(dcz_deflate *deflate, uint8_t *to, uint32_t count);

#endif
