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

dcz_error dcz_small_next(dcz_small *small, uint8_t *to, uint32_t count) {
  dcz_elements *const elements = &small->elements;
  const uint32_t size = elements->size;
  const int words = small->known && small->all && size == 4;
  uint32_t i;
  memset(to, 0, count * size);
  for (i = 0; i < count; ++i, to += size) {
    while (words && count - i >= 32 && dcz_elements_words(elements, to, UINT32_MAX)) {
      i += 32;
      to += 32 * size;
    }
    if (i == count) break;
    const uint32_t found = small->known ? small->all : dcz_adaptive_next(&small->adaptive);
    if (found == 0) continue;
    if (small->codes) {
      memcpy(to, elements->codebook + (found - 1) * size, size);
    } else {
      dcz_elements_value(elements, to, size);
    }
  }
  small->left -= count;
  if (count > 0 && small->left == 0) return end(small);
  if (!small->known && small->adaptive.error != DCZ_OK) return small->adaptive.error;
  if (!small->known && small->adaptive.mixing.input.error != DCZ_OK)
    return small->adaptive.mixing.input.error;
  return small->codes ? DCZ_OK : dcz_elements_error(elements);
}
