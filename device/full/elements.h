/* The elements of survivors, one after the other: values in byte planes, or codes of a codebook.
   docs/format.md, "Values" and "Codebook". */
#ifndef DCZ_ELEMENTS_H
#define DCZ_ELEMENTS_H

#include <string.h>

#include "block.h"
#include "turn.h"
#include "work.h"

static inline uint32_t dcz_lowest_bit(uint32_t word) {
#ifdef __GNUC__
  return (uint32_t)__builtin_ctz(word);
#else
  uint32_t bit = 0;
  for (; (word & 1) == 0; word >>= 1) ++bit;
  return bit;
#endif
}

typedef struct {
  uint8_t size, turned; /* bytes of an element; whether its integer was turned by one bit */
  uint8_t planes;       /* 0: there are codes */
  uint16_t centroids;
  uint8_t *codebook;    /* the centroids' elements, little-endian */
  dcz_block *blocks[8]; /* of values, the most significant bytes first; or of codes */
} dcz_elements;

/* Takes a codebook if there are codes, and so many blocks. */
void dcz_elements_plan(dcz_elements *elements, dcz_work *work, const dcz_tensor *tensor, int codes,
                       uint32_t blocks);

/* The centroid that is the integer `ordered`. */
void dcz_elements_centroid(dcz_elements *elements, uint32_t number, uint64_t ordered);

/* "The codebook is one bit stream": its centroids. */
dcz_error dcz_elements_codebook(dcz_elements *elements, dcz_input *input, uint32_t centroids);

/* The blocks of `count` values or codes, which end where the payload does. */
dcz_error dcz_elements_open(dcz_elements *elements, const dcz_source *source, uint32_t at,
                            uint32_t end, uint32_t count);

/* Puts the next value, of `size` bytes. */
static inline void dcz_elements_value(dcz_elements *elements, uint8_t *to, uint32_t size) {
  uint32_t plane;
  for (plane = size; plane-- > 0;) to[plane] = dcz_block_next(elements->blocks[size - 1 - plane]);
  if (elements->turned) dcz_turn_back(to, size);
}

/* Puts the elements of whole words of a bitmap, 32 each: the next one for a bit, else zero. It ends
   where a block has fewer than 32 symbols at hand, and gives how many words these were. With
   -DDCZ_WORDS_ELSEWHERE a build brings its own function. */
uint32_t dcz_elements_words(dcz_elements *elements, uint8_t *to, const uint32_t *words,
                            uint32_t count);

/* Whether so many symbols are at hand in every block. */
static inline int dcz_elements_at_hand(const dcz_elements *elements, uint32_t symbols) {
  uint32_t i = 0;
  do {
    const dcz_block *const block = elements->blocks[i];
    if ((uint32_t)(block->limit - block->next) < symbols) return 0;
  } while (++i < elements->planes);
  return 1;
}

/* The first error so far. */
dcz_error dcz_elements_error(const dcz_elements *elements);

/* After the last element: checks that all blocks end there. */
dcz_error dcz_elements_end(dcz_elements *elements);

#endif
