/* The mask of the coder `fast`: the elements that survive, as a bitmap. docs/format.md, "Mask". */
#ifndef DCZ_MASK_H
#define DCZ_MASK_H

#include "block.h"
#include "work.h"

/* Element i survives if bit i % 32 of word i / 32 is set. */
typedef struct {
  uint32_t *words;
  uint32_t size;
} dcz_bitmap;

/* Turns the bit of an element. Where bytes of words are in order, one of them: the next bit is
   often in the same word, and has to wait for it. */
static inline void dcz_bitmap_turn(uint32_t *words, uint32_t element) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  uint8_t *const byte = (uint8_t *)words + (element >> 3);
  *byte = (uint8_t)(*byte ^ 1u << (element & 7));
#else
  words[element >> 5] ^= UINT32_C(1) << (element & 31);
#endif
}

/* The head of a mask, and the memory that reading it takes beside the bitmap. */
typedef struct {
  uint8_t layout, split;
  uint8_t *line_class,
      *cross_class;   /* of each line, and of each element along a line; NULL without classes */
  uint8_t *group;     /* of a class of rows and one of columns */
  uint32_t *cross;    /* the elements of a line that are of one group */
  uint16_t *patterns; /* symbols of patterns above 8 bits */
  dcz_block *block;
} dcz_mask_room;

/* Reads the head and takes what the mask at `at` needs. Where the work only counts, the pieces are
   NULL. */
dcz_error dcz_mask_plan(dcz_mask_room *room, dcz_work *work, const dcz_source *source, uint32_t at,
                        uint32_t end, const dcz_tensor *tensor);

/* Fills the bitmap; `*after` is where the mask ends. */
dcz_error dcz_mask_read(const dcz_mask_room *room, const dcz_source *source, uint32_t at,
                        uint32_t end, const dcz_tensor *tensor, const dcz_bitmap *bitmap,
                        uint32_t *after);

uint32_t dcz_bitmap_count(const dcz_bitmap *bitmap);

#endif
