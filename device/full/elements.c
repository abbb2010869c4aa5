/* Codebooks, and the blocks of values and codes. docs/format.md, "Codebook" and "Values". */
#include "elements.h"

void dcz_elements_plan(dcz_elements *elements, dcz_work *work, const dcz_tensor *tensor, int codes,
                       uint32_t blocks) {
  uint32_t i;
  memset(elements, 0, sizeof *elements);
  elements->size = tensor->size;
  elements->turned = tensor->dtype <= DCZ_BF16;
  elements->planes = codes ? 0 : tensor->size;
  if (codes) elements->codebook = dcz_work_take(work, 256u * tensor->size);
  for (i = 0; i < blocks; ++i) elements->blocks[i] = dcz_work_take(work, sizeof(dcz_block));
}

void dcz_elements_centroid(dcz_elements *elements, uint32_t number, uint64_t ordered) {
  const uint64_t sign = UINT64_C(1) << (8 * elements->size - 1);
  const uint64_t bits = ordered >= sign ? ordered - sign : ~ordered;
  uint32_t i;
  for (i = 0; i < elements->size; ++i) {
    elements->codebook[number * elements->size + i] = (uint8_t)(bits >> (8 * i));
  }
}

dcz_error dcz_elements_codebook(dcz_elements *elements, dcz_input *input, uint32_t centroids) {
  const uint32_t width = 8u * elements->size;
  const uint64_t largest = ~UINT64_C(0) >> (64 - width);
  int32_t digits = 20;
  uint64_t ordered;
  uint32_t i;
  dcz_bits bits;
  dcz_bits_open(&bits, input);
  ordered = dcz_bits_long(&bits, width);
  dcz_elements_centroid(elements, 0, ordered);
  for (i = 1; i < centroids && input->error == DCZ_OK; ++i) {
    const uint32_t token = dcz_bits_token(&bits);
    uint64_t step;
    digits += token % 2 == 1 ? (int32_t)((token + 1) / 2) : -(int32_t)(token / 2);
    if (digits < 1 || digits > (int32_t)width) return dcz_input_refuse(input);
    step = UINT64_C(1) << (digits - 1) | dcz_bits_long(&bits, (uint32_t)digits - 1);
    if (step > largest - ordered) return dcz_input_refuse(input);
    ordered += step;
    dcz_elements_centroid(elements, i, ordered);
  }
  elements->centroids = (uint16_t)centroids;
  dcz_bits_end(&bits);
  return input->error;
}

static uint32_t blocks_of(const dcz_elements *elements) {
  return elements->planes > 0 ? elements->planes : 1;
}

dcz_error dcz_elements_open(dcz_elements *elements, const dcz_source *source, uint32_t at,
                            uint32_t end, uint32_t count) {
  const uint32_t alphabet = elements->planes > 0 ? 256 : elements->centroids;
  uint32_t i;
  for (i = 0; i < blocks_of(elements); ++i) {
    const dcz_error error = dcz_block_open(elements->blocks[i], source, at, end, count, alphabet);
    if (error != DCZ_OK) return error;
    at = elements->blocks[i]->after;
  }
  return at == end ? DCZ_OK : DCZ_ERROR_PAYLOAD;
}

#ifndef DCZ_WORDS_ELSEWHERE
/* Values of four bytes. */
static void put_values(dcz_elements *elements, uint8_t *to, uint32_t word) {
  const uint32_t turned = elements->turned;
  const uint8_t *planes[4];
  uint32_t i;
  for (i = 0; i < 4; ++i) planes[i] = elements->blocks[i]->next;
  for (i = 0; word != 0; word &= word - 1, ++i) {
    const uint32_t value = (uint32_t)planes[0][i] << 24 | (uint32_t)planes[1][i] << 16 |
                           (uint32_t)planes[2][i] << 8 | planes[3][i];
    const uint32_t element = value >> turned | value << 1 << (31 - turned);
    uint8_t *const at = to + 4 * dcz_lowest_bit(word);
    at[0] = (uint8_t)element;
    at[1] = (uint8_t)(element >> 8);
    at[2] = (uint8_t)(element >> 16);
    at[3] = (uint8_t)(element >> 24);
  }
  elements->blocks[0]->next = planes[0] + i;
  elements->blocks[1]->next = planes[1] + i;
  elements->blocks[2]->next = planes[2] + i;
  elements->blocks[3]->next = planes[3] + i;
}

/* Centroids of `size` bytes: a constant, where this is inlined. */
static inline void put_codes(dcz_elements *elements, uint8_t *to, uint32_t word, uint32_t size) {
  const uint8_t *const codebook = elements->codebook, *next = elements->blocks[0]->next;
  for (; word != 0; word &= word - 1)
    memcpy(to + dcz_lowest_bit(word) * size, codebook + *next++ * size, size);
  elements->blocks[0]->next = next;
}

uint32_t dcz_elements_words(dcz_elements *elements, uint8_t *to, const uint32_t *words,
                            uint32_t count) {
  const uint32_t size = elements->size;
  uint32_t done = 0;
  if (elements->planes > 0 && size != 4) return 0;
  for (; done < count && dcz_elements_at_hand(elements, 32); ++done, to += 32 * size) {
    memset(to, 0, 32 * size);
    if (elements->planes > 0) {
      put_values(elements, to, words[done]);
    } else if (size == 4) {
      put_codes(elements, to, words[done], 4);
    } else if (size == 2) {
      put_codes(elements, to, words[done], 2);
    } else {
      put_codes(elements, to, words[done], 8);
    }
  }
  return done;
}
#endif

dcz_error dcz_elements_error(const dcz_elements *elements) {
  uint32_t i;
  for (i = 0; i < blocks_of(elements); ++i) {
    if (elements->blocks[i]->error != DCZ_OK) return elements->blocks[i]->error;
  }
  return DCZ_OK;
}

dcz_error dcz_elements_end(dcz_elements *elements) {
  uint32_t i;
  for (i = 0; i < blocks_of(elements); ++i) {
    const dcz_error error = dcz_block_end(elements->blocks[i]);
    if (error != DCZ_OK) return error;
  }
  return DCZ_OK;
}
