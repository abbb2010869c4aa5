/* The coder `small`, element by element. docs/format.md, "small". */
#include "small.h"

enum { VALUES, CODES };

static dcz_error end(dcz_small *small) {
  dcz_error error = small->known ? DCZ_OK : dcz_adaptive_end(&small->adaptive);
  if (error == DCZ_OK && !small->codes) error = dcz_elements_end(&small->elements);
  return error;
}

dcz_error dcz_small_open(dcz_small *small, dcz_work *work, const dcz_source *source,
                         const dcz_tensor *tensor) {
  const uint32_t size = tensor->rows * tensor->cols, stop = tensor->offset + tensor->length;
  uint32_t survivors, centroids = 0, length, at;
  dcz_error error = DCZ_OK;
  dcz_input input;
  uint8_t kind;
  dcz_input_open(&input, source, tensor->offset, stop);
  kind = dcz_input_byte(&input);
  if (kind > CODES || (kind == CODES && tensor->dtype > DCZ_BF16)) dcz_input_refuse(&input);
  survivors = dcz_input_varint(&input);
  if (survivors > size) dcz_input_refuse(&input);
  small->left = size;
  small->codes = kind == CODES;
  small->known = survivors == 0 || (kind == VALUES && survivors == size);
  small->all = survivors > 0;
  if (kind == CODES) {
    if (survivors > 0) centroids = dcz_input_byte(&input) + 1u;
    length = dcz_input_left(&input);
  } else {
    length = dcz_input_varint(&input);
  }
  at = dcz_input_at(&input);
  if (length > dcz_input_left(&input) || (small->known && length > 0)) dcz_input_refuse(&input);
  if (input.error != DCZ_OK) return input.error;
  dcz_elements_plan(&small->elements, work, tensor, kind == CODES,
                    kind == CODES ? 0 : tensor->size);
  if (!small->known) {
    error = dcz_adaptive_open(&small->adaptive, work, &small->elements, source, at, at + length,
                              tensor, survivors, centroids);
  }
  if (error != DCZ_OK || work->next == NULL) return error;
  if (kind == VALUES)
    error = dcz_elements_open(&small->elements, source, at + length, stop, survivors);
  return error != DCZ_OK || size > 0 ? error : end(small);
}

/* The next elements, of which all survive or none. */
static void put_known(dcz_small *small, uint8_t *to, uint32_t count) {
  static const uint32_t all[8] = {~UINT32_C(0), ~UINT32_C(0), ~UINT32_C(0), ~UINT32_C(0),
                                  ~UINT32_C(0), ~UINT32_C(0), ~UINT32_C(0), ~UINT32_C(0)};
  const uint32_t size = small->elements.size;
  if (!small->all) {
    memset(to, 0, count * size);
    return;
  }
  while (count > 0) {
    const uint32_t whole =
        count < 256 ? 0 : dcz_elements_words(&small->elements, to, all, sizeof all / sizeof *all);
    const uint32_t part = whole > 0 ? 32 * whole : 1;
    if (whole == 0) dcz_elements_value(&small->elements, to, size);
    to += part * size;
    count -= part;
  }
}

static void put_found(dcz_small *small, uint8_t *to, uint32_t count) {
  dcz_elements *const elements = &small->elements;
  const uint32_t size = elements->size;
  memset(to, 0, count * size);
  for (; count > 0; --count, to += size) {
    const uint32_t found = dcz_adaptive_next(&small->adaptive);
    if (found == 0) continue;
    if (small->codes) {
      memcpy(to, elements->codebook + (found - 1) * size, size);
    } else {
      dcz_elements_value(elements, to, size);
    }
  }
}

dcz_error dcz_small_next(dcz_small *small, uint8_t *to, uint32_t count) {
  if (small->known) {
    put_known(small, to, count);
  } else {
    put_found(small, to, count);
  }
  small->left -= count;
  if (count > 0 && small->left == 0) return end(small);
  if (!small->known && small->adaptive.error != DCZ_OK) return small->adaptive.error;
  if (!small->known && small->adaptive.mixing.input.error != DCZ_OK)
    return small->adaptive.mixing.input.error;
  return small->codes ? DCZ_OK : dcz_elements_error(&small->elements);
}
