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

static inline uint32_t lowest_bit(uint32_t word) {
#ifdef __GNUC__
  return (uint32_t)__builtin_ctz(word);
#else
  uint32_t bit = 0;
  for (; (word & 1) == 0; word >>= 1) ++bit;
  return bit;
#endif
}

/* Elements of `size` bytes: a constant, where this is inlined. */
static inline void put_codes(dcz_fast *fast, uint8_t *to, uint32_t word, uint32_t size) {
  dcz_block *const block = fast->elements.blocks[0];
  const uint8_t *const codebook = fast->elements.codebook;
  for (; word != 0; word &= word - 1) {
    memcpy(to + lowest_bit(word) * size, codebook + dcz_block_next(block) * size, size);
  }
}

/* Values of four bytes, where each plane has 32 symbols at hand. Gives whether it has. */
static int put_words(dcz_elements *elements, uint8_t *to, uint32_t word) {
  const uint32_t turned = elements->turned;
  const uint8_t *planes[4];
  uint32_t i;
  for (i = 0; i < 4; ++i) {
    planes[i] = elements->blocks[i]->next;
    if (elements->blocks[i]->limit - planes[i] < 32) return 0;
  }
  for (i = 0; word != 0; word &= word - 1, ++i) {
    const uint32_t value = (uint32_t)planes[0][i] << 24 | (uint32_t)planes[1][i] << 16 |
                           (uint32_t)planes[2][i] << 8 | planes[3][i];
    const uint32_t element = value >> turned | value << 1 << (31 - turned);
    uint8_t *const at = to + 4 * lowest_bit(word);
    at[0] = (uint8_t)element;
    at[1] = (uint8_t)(element >> 8);
    at[2] = (uint8_t)(element >> 16);
    at[3] = (uint8_t)(element >> 24);
  }
  elements->blocks[0]->next = planes[0] + i;
  elements->blocks[1]->next = planes[1] + i;
  elements->blocks[2]->next = planes[2] + i;
  elements->blocks[3]->next = planes[3] + i;
  return 1;
}

static void put(dcz_fast *fast, uint8_t *to, uint32_t word) {
  const uint32_t size = fast->elements.size;
  if (fast->elements.planes > 0) {
    if (size == 4 && put_words(&fast->elements, to, word)) return;
    for (; word != 0; word &= word - 1)
      dcz_elements_value(&fast->elements, to + lowest_bit(word) * size, size);
  } else if (size == 4) {
    put_codes(fast, to, word, 4);
  } else if (size == 2) {
    put_codes(fast, to, word, 2);
  } else {
    put_codes(fast, to, word, 8);
  }
}

dcz_error dcz_fast_next(dcz_fast *fast, uint8_t *to, uint32_t count) {
  const uint32_t size = fast->elements.size;
  const int ends = count > 0 && count == fast->bitmap.size - fast->at;
  memset(to, 0, count * size);
  while (count > 0) {
    const uint32_t first = fast->at & 31, part = count < 32 - first ? count : 32 - first;
    uint32_t word = fast->bitmap.words[fast->at >> 5] >> first;
    if (part < 32) word &= (UINT32_C(1) << part) - 1;
    put(fast, to, word);
    to += part * size;
    fast->at += part;
    count -= part;
  }
  if (ends) return dcz_elements_end(&fast->elements);
  return dcz_elements_error(&fast->elements);
}
