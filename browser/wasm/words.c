/* Elements of whole words of a bitmap by SIMD, in the place of those in device/full/elements.c. */
#include <wasm_simd128.h>

#include "full/elements.h"

/* Below so many survivors of 32 elements, one after the other is faster. */
enum { FEW = 8 };

/* places[mask][i]: which of the next survivors the element i of eight is; GONE if its bit is 0. */
enum { GONE = 0x80 };
static uint8_t places[256][8];

static void make_places(void) {
  uint32_t mask, i;
  for (mask = 0; mask < 256; ++mask) {
    uint8_t next = 0;
    for (i = 0; i < 8; ++i) places[mask][i] = mask >> i & 1 ? next++ : GONE;
  }
}

static inline v128_t places_of(uint32_t mask) { return wasm_v128_load64_zero(places[mask]); }

#define LOW_BYTES(a, b) \
  wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH_BYTES(a, b) \
  wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define LOW_PAIRS(a, b) wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_PAIRS(a, b) wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15)

/* Values of four bytes, from planes whose first one is the most significant. */
static void put_values(dcz_elements *elements, uint8_t *to, uint32_t word) {
  const uint32_t turned = elements->turned;
  const uint8_t *a = elements->blocks[0]->next, *b = elements->blocks[1]->next,
                *c = elements->blocks[2]->next, *d = elements->blocks[3]->next;
  const uint32_t survivors = (uint32_t)__builtin_popcount(word);
  uint32_t i = 0, quarter;
  if (survivors < FEW) {
    memset(to, 0, 128);
    for (; word != 0; word &= word - 1, ++i) {
      const uint32_t value =
          (uint32_t)a[i] << 24 | (uint32_t)b[i] << 16 | (uint32_t)c[i] << 8 | d[i];
      const uint32_t element = value >> turned | value << 1 << (31 - turned);
      memcpy(to + 4 * dcz_lowest_bit(word), &element, 4);
    }
  } else {
    for (quarter = 0; quarter < 4; ++quarter, word >>= 8, to += 32) {
      const v128_t place = places_of(word & 255);
      const v128_t high = LOW_BYTES(wasm_i8x16_swizzle(wasm_v128_load64_zero(b + i), place),
                                    wasm_i8x16_swizzle(wasm_v128_load64_zero(a + i), place));
      const v128_t low = LOW_BYTES(wasm_i8x16_swizzle(wasm_v128_load64_zero(d + i), place),
                                   wasm_i8x16_swizzle(wasm_v128_load64_zero(c + i), place));
      const v128_t first = LOW_PAIRS(low, high), second = HIGH_PAIRS(low, high);
      /* a shift by 32 is one by 0 */
      wasm_v128_store(
          to, wasm_v128_or(wasm_u32x4_shr(first, turned), wasm_i32x4_shl(first, 32 - turned)));
      wasm_v128_store(to + 16, wasm_v128_or(wasm_u32x4_shr(second, turned),
                                            wasm_i32x4_shl(second, 32 - turned)));
      i += (uint32_t)__builtin_popcount(word & 255);
    }
  }
  elements->blocks[0]->next = a + survivors;
  elements->blocks[1]->next = b + survivors;
  elements->blocks[2]->next = c + survivors;
  elements->blocks[3]->next = d + survivors;
}

/* Centroids of `size` bytes: a constant, where this is inlined. */
static inline const uint8_t *put_codes(const uint8_t *next, const uint8_t *codebook, uint8_t *to,
                                       uint32_t word, uint32_t size) {
  uint32_t i;
  if (~word == 0) {
    for (i = 0; i < 32; ++i) memcpy(to + i * size, codebook + next[i] * size, size);
    return next + 32;
  }
  memset(to, 0, 32 * size);
  for (; word != 0; word &= word - 1)
    memcpy(to + dcz_lowest_bit(word) * size, codebook + *next++ * size, size);
  return next;
}

/* The bytes of at most 16 centroids of four bytes: planes[b] has byte b of each. */
static void take_planes(v128_t planes[4], const uint8_t *codebook) {
  uint8_t bytes[4][16];
  uint32_t i;
  for (i = 0; i < 64; ++i) bytes[i & 3][i >> 2] = codebook[i];
  for (i = 0; i < 4; ++i) planes[i] = wasm_v128_load(bytes[i]);
}

/* At most 16 centroids of four bytes: a swizzle looks up 16 codes at once. */
static const uint8_t *put_few(const uint8_t *next, const v128_t planes[4], uint8_t *to,
                              uint32_t word) {
  uint32_t i;
  for (i = 0; i < 2; ++i, to += 64, word >>= 16) {
    const v128_t left = places_of(word & 255), right = places_of(word >> 8 & 255);
    const v128_t codes_left = wasm_i8x16_swizzle(wasm_v128_load64_zero(next), left);
    const uint8_t *const middle = next + __builtin_popcount(word & 255);
    const v128_t codes_right = wasm_i8x16_swizzle(wasm_v128_load64_zero(middle), right);
    /* a code of a pruned element is out of the planes' range, which gives zeros */
    const v128_t gone = wasm_v128_and(wasm_i64x2_shuffle(left, right, 0, 2),
                                      wasm_i8x16_const_splat((int8_t)(GONE - 256)));
    const v128_t codes = wasm_v128_or(wasm_i64x2_shuffle(codes_left, codes_right, 0, 2), gone);
    const v128_t a = wasm_i8x16_swizzle(planes[0], codes), b = wasm_i8x16_swizzle(planes[1], codes);
    const v128_t c = wasm_i8x16_swizzle(planes[2], codes), d = wasm_i8x16_swizzle(planes[3], codes);
    const v128_t low = LOW_BYTES(a, b), low_high = HIGH_BYTES(a, b);
    const v128_t high = LOW_BYTES(c, d), high_high = HIGH_BYTES(c, d);
    wasm_v128_store(to, LOW_PAIRS(low, high));
    wasm_v128_store(to + 16, HIGH_PAIRS(low, high));
    wasm_v128_store(to + 32, LOW_PAIRS(low_high, high_high));
    wasm_v128_store(to + 48, HIGH_PAIRS(low_high, high_high));
    next = middle + __builtin_popcount(word >> 8 & 255);
  }
  return next;
}

uint32_t dcz_elements_words(dcz_elements *elements, uint8_t *to, const uint32_t *words,
                            uint32_t count) {
  const uint32_t size = elements->size;
  const int few = elements->planes == 0 && size == 4 && elements->centroids <= 16;
  v128_t planes[4];
  uint32_t done = 0;
  if (elements->planes > 0 && size != 4) return 0;
  if (places[0][0] == 0) make_places();
  if (few) take_planes(planes, elements->codebook);
  for (; done < count && dcz_elements_at_hand(elements, 32); ++done, to += 32 * size) {
    const uint32_t word = words[done];
    dcz_block *const block = elements->blocks[0];
    if (elements->planes > 0) {
      put_values(elements, to, word);
    } else if (few && __builtin_popcount(word) >= FEW) {
      block->next = put_few(block->next, planes, to, word);
    } else if (size == 4) {
      block->next = put_codes(block->next, elements->codebook, to, word, 4);
    } else if (size == 2) {
      block->next = put_codes(block->next, elements->codebook, to, word, 2);
    } else {
      block->next = put_codes(block->next, elements->codebook, to, word, 8);
    }
  }
  return done;
}
