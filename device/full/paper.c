/* The coders `sparse` and `huffman`, entry by entry. docs/format.md, "sparse" and "huffman". */
#include "paper.h"

#include <string.h>

enum { CODE_SYMBOLS = 257 };

static uint32_t *take_quick(dcz_work *work) {
  return dcz_work_take(work, (1u << DCZ_TABLE_BITS) * sizeof(uint32_t));
}

/* Goes to the next entry, if there is one. */
static void step(dcz_paper *paper, uint32_t from) {
  const uint32_t size = paper->at + paper->elements_left;
  paper->has_entry = paper->left > 0;
  if (paper->left == 0) return;
  --paper->left;
  paper->place = from + dcz_stream_next(&paper->gaps);
  /* "No position may reach the number of elements." */
  if (paper->place >= size || paper->place < from) {
    paper->error = DCZ_ERROR_PAYLOAD;
    paper->has_entry = 0;
  }
}

static dcz_error open_values(dcz_paper *paper, dcz_input *input, uint32_t entries) {
  const uint32_t left = dcz_input_left(input);
  if (entries > left / paper->size || entries * paper->size != left) return DCZ_ERROR_PAYLOAD;
  dcz_input_open(&paper->values, input->source, dcz_input_at(input), input->end);
  return DCZ_OK;
}

static dcz_error open_codes(dcz_paper *paper, dcz_work *work, dcz_input *input,
                            const dcz_tensor *tensor, uint32_t entries) {
  const uint32_t centroids = dcz_input_byte(input) + 1u;
  uint32_t at;
  if (tensor->dtype > DCZ_BF16) dcz_input_refuse(input);
  paper->elements.codebook = dcz_work_take(work, centroids * paper->size);
  paper->code_table.symbols = dcz_work_take(work, CODE_SYMBOLS * sizeof(uint16_t));
  paper->code_table.quick = take_quick(work);
  paper->elements.centroids = (uint16_t)centroids;
  at = dcz_input_at(input);
  dcz_input_skip(input, centroids * paper->size);
  if (input->error != DCZ_OK || work->next == NULL) return input->error;
  dcz_input_open(input, input->source, at, input->end);
  dcz_input_take(input, paper->elements.codebook, centroids * paper->size);
  dcz_table_read(&paper->code_table, input, centroids + 1, CODE_SYMBOLS);
  if (input->error != DCZ_OK) return input->error;
  dcz_table_quicken(&paper->code_table);
  dcz_stream_open(&paper->codes, input, dcz_input_left(input), &paper->code_table, entries);
  return input->error;
}

/* The first error so far. */
static dcz_error error_of(const dcz_paper *paper) {
  if (paper->error != DCZ_OK) return paper->error;
  if (paper->gaps.input.error != DCZ_OK) return paper->gaps.input.error;
  if (paper->codes.input.error != DCZ_OK) return paper->codes.input.error;
  return paper->values.error;
}

static dcz_error end(dcz_paper *paper) {
  dcz_error error = error_of(paper);
  if (paper->gap_table.symbols == NULL) return DCZ_OK; /* no entries */
  if (error == DCZ_OK) error = dcz_stream_end(&paper->gaps);
  if (error == DCZ_OK && DCZ_PAPER_CODES(paper->coder)) error = dcz_stream_end(&paper->codes);
  return error;
}

dcz_error dcz_paper_open(dcz_paper *paper, dcz_work *work, const dcz_source *source,
                         const dcz_tensor *tensor) {
  const uint32_t size = tensor->rows * tensor->cols;
  uint32_t entries, gap_bits, symbols, at, length;
  dcz_error error;
  dcz_input input;
  dcz_input_open(&input, source, tensor->offset, tensor->offset + tensor->length);
  memset(paper, 0, sizeof *paper);
  paper->size = tensor->size;
  paper->coder = tensor->coder;
  paper->elements_left = size;
  entries = dcz_input_varint(&input);
  if (entries > size) dcz_input_refuse(&input);
  if (DCZ_PAPER_CODES(tensor->coder) && tensor->dtype > DCZ_BF16) dcz_input_refuse(&input);
  if (entries == 0 && dcz_input_left(&input) != 0) dcz_input_refuse(&input);
  if (input.error != DCZ_OK || entries == 0) return input.error;
  gap_bits = dcz_input_byte(&input);
  if (gap_bits < 2 || gap_bits > 16) dcz_input_refuse(&input);
  if (input.error != DCZ_OK) return input.error;
  at = dcz_input_at(&input);
  symbols = dcz_table_scan(&input, UINT32_C(1) << gap_bits);
  if (input.error != DCZ_OK) return input.error;
  paper->gap_table.symbols = dcz_work_take(work, symbols * (uint64_t)2);
  paper->gap_table.quick = take_quick(work);
  if (work->next != NULL) {
    dcz_input_open(&input, source, at, input.end);
    dcz_table_read(&paper->gap_table, &input, UINT32_C(1) << gap_bits, symbols);
    if (input.error != DCZ_OK) return input.error;
    dcz_table_quicken(&paper->gap_table);
  }
  length = dcz_input_varint(&input);
  if (input.error != DCZ_OK) return input.error;
  if (work->next != NULL) {
    dcz_stream_open(&paper->gaps, &input, length, &paper->gap_table, entries);
  } else {
    dcz_input_skip(&input, length);
  }
  if (input.error != DCZ_OK) return input.error;
  error = DCZ_PAPER_CODES(tensor->coder) ? open_codes(paper, work, &input, tensor, entries)
                                         : open_values(paper, &input, entries);
  if (error != DCZ_OK || work->next == NULL) return error;
  paper->left = entries;
  step(paper, 0);
  return paper->error;
}

static void put(dcz_paper *paper, uint8_t *to) {
  if (!DCZ_PAPER_CODES(paper->coder)) {
    dcz_input_take(&paper->values, to, paper->size);
  } else {
    const uint32_t code = dcz_stream_next(&paper->codes);
    /* the last symbol is a filler: zero */
    if (code < paper->elements.centroids)
      memcpy(to, paper->elements.codebook + code * paper->size, paper->size);
  }
}

dcz_error dcz_paper_next(dcz_paper *paper, uint8_t *to, uint32_t count) {
  memset(to, 0, count * paper->size);
  while (paper->has_entry && paper->place - paper->at < count) {
    put(paper, to + (paper->place - paper->at) * paper->size);
    step(paper, paper->place + 1);
  }
  paper->at += count;
  paper->elements_left -= count;
  if (count > 0 && paper->elements_left == 0) return end(paper);
  return error_of(paper);
}
