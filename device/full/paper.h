/* The coders of the paper, `sparse` and `huffman`: gaps with values, or with codes. */
#ifndef DCZ_PAPER_H
#define DCZ_PAPER_H

#include "../rows.h"
#include "elements.h"

typedef struct {
  dcz_table gap_table, code_table; /* code_table: of `huffman` */
  dcz_stream gaps, codes;
  dcz_input values;      /* of `sparse` */
  dcz_elements elements; /* the codebook of `huffman` */
  uint32_t left;         /* entries behind the one at `place` */
  uint32_t place, at,
      elements_left; /* the next entry's and the next element's; elements from there on */
  uint8_t has_entry, coder;
  uint8_t size; /* bytes of an element */
  dcz_error error;
} dcz_paper;

/* Whether there are codes, not values: known when this is compiled, where one coder is alone. */
#if !defined(DCZ_WITH_SPARSE)
#define DCZ_PAPER_CODES(coder) 1
#elif !defined(DCZ_WITH_HUFFMAN)
#define DCZ_PAPER_CODES(coder) 0
#else
#define DCZ_PAPER_CODES(coder) ((coder) == DCZ_HUFFMAN)
#endif

dcz_error dcz_paper_open(dcz_paper *paper, dcz_work *work, const dcz_source *source,
                         const dcz_tensor *tensor);

/* The next `count` elements. Errors in the streams are found with the last element at the latest.
 */
dcz_error dcz_paper_next(dcz_paper *paper, uint8_t *to, uint32_t count);

#endif
