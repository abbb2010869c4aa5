/* Integers that were turned left by one bit, "so that a float's exponent begins a byte" (docs/format.md, "Values"). */
#ifndef DCZ_TURN_H
#define DCZ_TURN_H

#include <stdint.h>

/* Turns `size` little-endian bytes right by one bit. */
static inline void dcz_turn_back(uint8_t *bytes, uint32_t size) {
  const uint8_t lowest = bytes[0];
  uint32_t i;
  for (i = 0; i + 1 < size; ++i) bytes[i] = (uint8_t)(bytes[i] >> 1 | bytes[i + 1] << 7);
  bytes[size - 1] = (uint8_t)(bytes[size - 1] >> 1 | lowest << 7);
}

#endif
