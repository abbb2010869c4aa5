/* What the files of compute.wasm share: matrices, vectors of four floats, and the exported
 * functions. */
#ifndef DCZ_COMPUTE_H
#define DCZ_COMPUTE_H

#include <stdint.h>
#include <string.h>

#ifdef __wasm__
#define DCZ_EXPORT(name) __attribute__((export_name(#name))) dcz_web_##name
#else
#define DCZ_EXPORT(name) dcz_web_##name
#endif

#ifdef __clang__
#define DCZ_UNROLL _Pragma("clang loop unroll(full)")
#else
#define DCZ_UNROLL
#endif

/* For functions whose last argument must be a constant. */
#define DCZ_INLINE static inline __attribute__((always_inline))

#define DCZ_BLOCK 32u

/* Four floats in one register, of WebAssembly or of the host. */
typedef float dcz_four __attribute__((vector_size(16)));

static inline dcz_four dcz_load(const float *at) {
  dcz_four four;
  memcpy(&four, at, sizeof four);
  return four;
}

static inline void dcz_store(float *at, dcz_four four) { memcpy(at, &four, sizeof four); }

static inline dcz_four dcz_all(float value) { return (dcz_four){value, value, value, value}; }

static inline float dcz_sum(dcz_four four) { return (four[0] + four[2]) + (four[1] + four[3]); }

/* What an entry means. Its weight is 0 if it is a filler. */
typedef struct dcz_meaning {
  float weight;
  uint32_t bytes; /* of float32 columns that it moves on */
} dcz_meaning;

/* Weights, packed as src/network/packed.ts describes, or dense: then `words` is null. JavaScript
   writes it, word by word. */
typedef struct {
  uint32_t rows, cols;
  uint32_t per_word, skip_bits;
  const uint32_t *words, *starts;
  const uint32_t *order;  /* the row of the matrix that is stored as the r-th; null if that is r */
  const uint32_t *stored; /* its inverse, or null */
  const float *codebook;  /* of one weight at least */
  const dcz_meaning *table; /* by entry; null with two entries a word */
  const float *dense;       /* rows x cols, or null */
  const float *bias;        /* rows, or null */
} dcz_matrix;

/* An entry's bits follow from the number of entries a word. */
static inline uint32_t dcz_entry_bits(uint32_t per_word) { return 32u / per_word; }

static inline dcz_meaning dcz_mean(const dcz_matrix *matrix, uint32_t entry) {
  const uint32_t skips = (1u << matrix->skip_bits) - 1u, skip = entry & skips;
  dcz_meaning meaning = {0.0f, 4u * skips};
  if (skip != skips) {
    meaning.weight = matrix->codebook[entry >> matrix->skip_bits];
    meaning.bytes = 4u * (skip + 1u);
  }
  return meaning;
}

/* The survivors of one row: byte offsets into x, and weights. */
typedef struct {
  uint32_t offset;
  float weight;
} dcz_term;

/* Writes the survivors of an output row; `offsets` gives the byte offset of each column. Returns
 * their number. */
uint32_t dcz_row_survivors(const dcz_matrix *matrix, uint32_t row, const uint32_t *offsets,
                           dcz_term *out);

/* y = W x + bias for dense weights, as dcz_web_products. */
void dcz_dense_products(const dcz_matrix *matrix, const float *x, uint32_t count, uint32_t pitch,
                        float *y);

/* Writes output rows from `row` on, four side by side: out[4 * column + i]. Rows behind the last
 * are 0. */
void dcz_four_rows(const dcz_matrix *matrix, uint32_t row, uint32_t count, float *out);

#endif
