/* The coder `fast`, element by element. docs/format.md, "fast". */
#include "fast.h"

#include <string.h>

enum { VALUES, CODES };

dcz_error dcz_fast_open(dcz_fast *fast, dcz_work *work, const dcz_source *source,
                        const dcz_tensor *tensor) {
  const uint32_t size = tensor->rows * tensor->cols, end = tensor->offset + tensor->length;
  uint32_t after;
  dcz_mask_room room;
  dcz_input input;
  dcz_error error;
  uint8_t kind;
  dcz_input_open(&input, source, tensor->offset, end);
  kind = dcz_input_byte(&input);
  if (kind > CODES || (kind == CODES && tensor->dtype > DCZ_BF16)) dcz_input_refuse(&input);
  if (input.error != DCZ_OK) return input.error;
  fast->bitmap.size = size;
  fast->bitmap.words = dcz_work_take(work, (size / 32 + 1) * (uint64_t)4);
  dcz_elements_plan(&fast->elements, work, tensor, kind == CODES, kind == CODES ? 1 : tensor->size);
  error = dcz_mask_plan(&room, work, source, tensor->offset + 1, end, tensor);
  if (error != DCZ_OK || work->next == NULL) return error;
  room.block = fast->elements.blocks[0];
  error = dcz_mask_read(&room, source, tensor->offset + 1, end, tensor, &fast->bitmap, &after);
  if (error != DCZ_OK) return error;
  fast->at = 0;
  fast->survivors = dcz_bitmap_count(&fast->bitmap);
  if (kind == CODES && fast->survivors > 0) {
    uint32_t centroids;
    dcz_input_open(&input, source, after, end);
    centroids = dcz_input_byte(&input) + 1u;
    error = dcz_elements_codebook(&fast->elements, &input, centroids);
    if (error != DCZ_OK) return error;
    after = dcz_input_at(&input);
  }
  error = dcz_elements_open(&fast->elements, source, after, end, fast->survivors);
  return error != DCZ_OK || size > 0 ? error : dcz_elements_end(&fast->elements);
}

/* Puts an element for each bit of a word, wherever their symbols are. */
static void put(dcz_fast *fast, uint8_t *to, uint32_t word) {
  dcz_elements *const elements = &fast->elements;
  const uint32_t size = elements->size;
  for (; word != 0; word &= word - 1) {
    uint8_t *const at = to + dcz_lowest_bit(word) * size;
    if (elements->planes > 0) {
      dcz_elements_value(elements, at, size);
    } else {
      memcpy(at, elements->codebook + dcz_block_next(elements->blocks[0]) * size, size);
    }
  }
}

dcz_error dcz_fast_next(dcz_fast *fast, uint8_t *to, uint32_t count) {
  const uint32_t size = fast->elements.size;
  const int ends = count > 0 && count == fast->bitmap.size - fast->at;
  while (count > 0) {
    const uint32_t *const words = fast->bitmap.words + (fast->at >> 5);
    const uint32_t first = fast->at & 31;
    uint32_t part = count < 32 - first ? count : 32 - first;
    const uint32_t whole =
        part == 32 ? dcz_elements_words(&fast->elements, to, words, count >> 5) : 0;
    if (whole > 0) {
      part = 32 * whole;
    } else {
      uint32_t word = *words >> first;
      if (part < 32) word &= (UINT32_C(1) << part) - 1;
      memset(to, 0, part * size);
      put(fast, to, word);
    }
    to += part * size;
    fast->at += part;
    count -= part;
  }
  if (ends) return dcz_elements_end(&fast->elements);
  return dcz_elements_error(&fast->elements);
}
