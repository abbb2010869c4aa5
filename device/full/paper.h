/* The coders of the paper, `sparse` and `huffman`: gaps with values, or with codes. */
#ifndef DCZ_PAPER_H
#define DCZ_PAPER_H

#include "elements.h"

typedef struct {
  dcz_table gap_table, code_table; /* code_table: of `huffman` */
  dcz_stream gaps, codes;
  dcz_input values;      /* of `sparse` */
  dcz_elements elements; /* the codebook of `huffman` */
  uint32_t left;         /* entries behind the one at `place` */
  uint32_t place, at,
      elements_left; /* the next entry's and the next element's; elements from there on */
  uint8_t has_entry;
  uint8_t size; /* bytes of an element */
  dcz_error error;
} dcz_paper;

dcz_error dcz_paper_open(dcz_paper *paper, dcz_work *work, const dcz_source *source,
                         const dcz_tensor *tensor);

/* The next `count` elements. Errors in the streams are found with the last element at the latest.
 */
dcz_error dcz_paper_next(dcz_paper *paper, uint8_t *to, uint32_t count);

#endif
