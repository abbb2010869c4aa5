/* A sequence of bits, and the elements of a mask that its bits stand for. docs/format.md,
   "Sequence". */
#ifndef DCZ_SEQUENCE_H
#define DCZ_SEQUENCE_H

#include "mask.h"

enum { DCZ_PATTERN_BITS = 12 };

/* The elements of a group, in the order of its sequence: along lines, which are the rows or columns
   of the matrix. */
typedef struct {
  const dcz_bitmap *bitmap;
  uint32_t lines, width;     /* width: elements along a line */
  uint32_t line_step, step;  /* in the tensor, between lines and along one */
  const dcz_mask_room *room; /* NULL without classes */
  uint32_t line_classes, cross_classes;
  uint8_t row_major, group; /* row_major: a line is a row of the table of groups */
  uint32_t line_class, line, base;
  uint32_t at, length; /* along the line, among its elements of the group */
} dcz_walk;

static inline uint8_t dcz_walk_group(const dcz_walk *w, uint32_t line_class, uint32_t cross_class) {
  return w->room->group[w->row_major ? line_class * w->cross_classes + cross_class
                                     : cross_class * w->line_classes + line_class];
}

/* Goes to the first element of a group, 0 without classes. */
void dcz_walk_begin(dcz_walk *w, uint8_t group);

/* Reads the sequence of the group that `w` begins, of `size` bits. */
void dcz_sequence_take(dcz_input *input, dcz_walk *w, const dcz_mask_room *room, uint32_t size);

/* Whether the sequence at the input has patterns that take `room->patterns`. */
int dcz_sequence_wide(dcz_input *input);

#endif
