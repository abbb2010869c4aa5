/* Codebook, mask and codes of the coder `small`, one element after the other. docs/format.md,
   "Adaptive". */
#ifndef DCZ_ADAPTIVE_H
#define DCZ_ADAPTIVE_H

#include "elements.h"
#include "mixer.h"

enum {
  DCZ_LEVELS = 14,
  DCZ_SIGNED_LEVELS = 2 * DCZ_LEVELS - 1,
  DCZ_TREE = 32,
  DCZ_DEEP = 256,
  DCZ_TREE_BITS = 5,
  DCZ_LAST_LEVEL = 192
};

/* What an element of a row learns from the same place in all rows. */
typedef struct {
  dcz_counter survival, positive;
  int16_t pull;  /* mean of the survivors' signed sizes, in 16ths */
  uint8_t signs; /* the last survivors', a bit each */
} dcz_adaptive_column;

typedef struct {
  dcz_mixing mixing;
  dcz_elements *elements;
  uint32_t survivors, elements_left; /* not found yet */
  uint32_t row, kernel, line;        /* their lengths in elements */
  uint32_t in_row, in_kernel, in_line;
  uint32_t kinds[2]; /* centroids below zero, and others */
  uint32_t density;  /* in 65536ths */
  uint32_t history, recent;
  uint8_t full, dense;
  uint8_t *levels;      /* of sizes */
  int8_t *here, *above; /* signed sizes of this row and the previous one, behind two zeros */
  dcz_adaptive_column *columns;
  dcz_counter row_survival, row_positive;
  /* of survival */
  dcz_counter *by_history, *by_count, *by_sizes;
  uint32_t *survival_sets;
  /* of signs */
  dcz_counter *by_strengths, *by_pulls, *by_signs, *by_slopes;
  uint32_t *sign_sets;
  /* of magnitudes */
  uint8_t bits[2];
  int32_t row_size, all_size;
  int16_t *kernel_size;
  dcz_counter *by_place, *by_mean, *by_pull, *deep;
  uint32_t *magnitude_sets;
  dcz_error error;
} dcz_adaptive;

/* Takes memory and, if `work` has it, reads the codebook into `elements`. */
dcz_error dcz_adaptive_open(dcz_adaptive *adaptive, dcz_work *work, dcz_elements *elements,
                            const dcz_source *source, uint32_t at, uint32_t end,
                            const dcz_tensor *tensor, uint32_t survivors, uint32_t centroids);

/* "First come the centroids, in ascending order": reads them into the elements. */
dcz_error dcz_adaptive_centroids(dcz_adaptive *adaptive, uint32_t centroids);

/* 0 if the next element does not survive; otherwise its code + 1, or 1 without centroids. */
uint32_t dcz_adaptive_next(dcz_adaptive *adaptive);

/* After the last element. */
dcz_error dcz_adaptive_end(dcz_adaptive *adaptive);

#endif
