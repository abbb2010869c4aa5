/* Integers that were turned left by one bit, "so that a float's exponent begins a byte"
   (docs/format.md, "Values"). */
#ifndef DCZ_TURN_H
#define DCZ_TURN_H

#include <stdint.h>

/* Turns `size` little-endian bytes right by one bit. */
static inline void dcz_turn_back(uint8_t *bytes, uint32_t size) {
  const uint8_t lowest = bytes[0];
  uint32_t i;
  if (size == 4) {
    const uint32_t turned =
        bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    const uint32_t value = turned >> 1 | turned << 31;
    for (i = 0; i < 4; ++i) bytes[i] = (uint8_t)(value >> (8 * i));
    return;
  }
  for (i = 0; i + 1 < size; ++i) bytes[i] = (uint8_t)(bytes[i] >> 1 | bytes[i + 1] << 7);
  bytes[size - 1] = (uint8_t)(bytes[size - 1] >> 1 | lowest << 7);
}

#endif
