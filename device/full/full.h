/* All coders of docs/format.md, each behind a switch. rows.h decodes by them as by `raw` and
   `device`.

   -DDCZ_WITH_FAST and so on compile a coder in, -DDCZ_WITH_ALL all of them. Every C file needs the
   same switches. These coders take more memory than `device`, which docs/format.md states, and give
   rows from first to last: to seek an earlier row, they start again. What of a payload is wrong is
   found with its last row at the latest.

   -DDCZ_ROOMY is for machines with caches and megabytes: decoding is faster, blocks of `fast` and
   `small` take 32 KB more each, and the program 2 KB. */
#ifndef DCZ_FULL_H
#define DCZ_FULL_H

#include "../rows.h"

/* A tensor at work; it lies in the work buffer. */
typedef struct dcz_full dcz_full;

/* The bytes of the work buffer. DCZ_ERROR_CODER for coders that are not compiled in. */
dcz_error dcz_full_size(const dcz_file *file, const dcz_tensor *tensor, uint32_t *bytes);

/* `work` is aligned to 4 bytes. */
dcz_error dcz_full_open(dcz_full **full, const dcz_file *file, const dcz_tensor *tensor, void *work,
                        uint32_t size);

/* The next `count` elements. */
dcz_error dcz_full_next(dcz_full *full, void *to, uint32_t count);

/* Makes the element of this number the next one. */
dcz_error dcz_full_seek(dcz_full *full, uint32_t element);

#endif
