/* Bytes of a source from front to back, and bits of them. Every length is checked before it is
   believed.

   The first error of an input stays. From then on it gives zeros, so that its user may ask once, at
   the end of a part. */
#ifndef DCZ_INPUT_H
#define DCZ_INPUT_H

#include <string.h>

#include "../dcz.h"

/* Little-endian integers anywhere. Where such loads are cheap, compilers do not all find them. */
#if defined(__x86_64__) || defined(__aarch64__) || defined(__wasm__)
#define DCZ_LOADS_ANYWHERE
#endif

static inline uint32_t dcz_load32(const uint8_t *at) {
#ifdef DCZ_LOADS_ANYWHERE
  uint32_t value;
  memcpy(&value, at, 4);
  return value;
#else
  return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
#endif
}

static inline uint64_t dcz_load64(const uint8_t *at) {
#ifdef DCZ_LOADS_ANYWHERE
  uint64_t value;
  memcpy(&value, at, 8);
  return value;
#else
  return dcz_load32(at) | (uint64_t)dcz_load32(at + 4) << 32;
#endif
}

typedef struct {
  const dcz_source *source;
  uint32_t at, end; /* in the source: of the next byte to load, and behind the last one */
  const uint8_t *next, *limit; /* the loaded bytes */
  dcz_error error;
  uint8_t buffer[DCZ_BUFFER];
} dcz_input;

/* Of the bytes from `at` to `end`, which lie within the source. */
void dcz_input_open(dcz_input *input, const dcz_source *source, uint32_t at, uint32_t end);

/* Loads bytes if none are left. Gives whether there is one; if not, the input has an error. */
int dcz_input_fill(dcz_input *input);

void dcz_input_skip(dcz_input *input, uint32_t count);
void dcz_input_take(dcz_input *input, uint8_t *to, uint32_t count);
uint64_t dcz_input_long_varint(dcz_input *input);

/* Below 2^32: nothing that a 32-bit machine decodes has more. */
uint32_t dcz_input_varint(dcz_input *input);

static inline uint32_t dcz_input_at(const dcz_input *input) {
  return input->at - (uint32_t)(input->limit - input->next);
}

static inline uint32_t dcz_input_left(const dcz_input *input) {
  return input->end - dcz_input_at(input);
}

static inline uint8_t dcz_input_byte(dcz_input *input) {
  if (input->next == input->limit && !dcz_input_fill(input)) return 0;
  return *input->next++;
}

static inline dcz_error dcz_input_refuse(dcz_input *input) {
  if (input->error == DCZ_OK) input->error = DCZ_ERROR_PAYLOAD;
  return input->error;
}

/* "Bit streams are filled from the least significant bit of each byte." */
typedef struct {
  dcz_input *input;
  uint32_t held,
      count;     /* the lowest `count` bits of `held` come next; those above may be set, too */
  uint32_t past; /* of these, zeros from behind the end */
} dcz_bits;

void dcz_bits_open(dcz_bits *bits, dcz_input *input);

/* One byte more, a zero behind the end. */
void dcz_bits_slowly(dcz_bits *bits);

/* At least 25 bits. */
static inline void dcz_bits_fill(dcz_bits *bits) {
  dcz_input *const input = bits->input;
  if (input->limit - input->next >= 4) {
    const uint32_t word = dcz_load32(input->next);
    const uint32_t bytes = (32 - bits->count) >> 3;
    if (bytes == 0) return;
    bits->held |= word << bits->count;
    input->next += bytes;
    bits->count += 8 * bytes;
    return;
  }
  while (bits->count < 25) dcz_bits_slowly(bits);
}

static inline void dcz_bits_skip(dcz_bits *bits, uint32_t count) {
  bits->held >>= count;
  bits->count -= count;
}

/* At most 24. */
static inline uint32_t dcz_bits_take(dcz_bits *bits, uint32_t count) {
  uint32_t found;
  if (bits->count < count) dcz_bits_fill(bits);
  found = bits->held & ((UINT32_C(1) << count) - 1);
  dcz_bits_skip(bits, count);
  return found;
}

uint64_t dcz_bits_long(dcz_bits *bits, uint32_t count);

/* "v >= 0 in the Elias gamma code of v + 1". */
uint32_t dcz_bits_token(dcz_bits *bits);

/* Checks that the bits taken were there and that those up to the next whole byte are zero. The
   input goes there. */
void dcz_bits_end(dcz_bits *bits);

#endif
