/* CRC-32 by 16 tables, which are made at the first call ("slicing"). */
#include "crc.h"

#include <string.h>

enum { SLICES = 16 };

/* tables[k][b]: what the byte b does to the checksum, with k more bytes behind it. */
static uint32_t tables[SLICES][256];

static void make_tables(void) {
  uint32_t byte, k;
  for (byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (k = 0; k < 8; ++k) crc = crc >> 1 ^ (0xedb88320 & (0 - (crc & 1)));
    tables[0][byte] = crc;
  }
  for (k = 1; k < SLICES; ++k) {
    for (byte = 0; byte < 256; ++byte) {
      const uint32_t crc = tables[k - 1][byte];
      tables[k][byte] = crc >> 8 ^ tables[0][crc & 255];
    }
  }
}

static uint32_t of_word(uint32_t word, uint32_t behind) {
  return tables[behind + 3][word & 255] ^ tables[behind + 2][word >> 8 & 255] ^
         tables[behind + 1][word >> 16 & 255] ^ tables[behind][word >> 24];
}

static uint32_t load(const uint8_t *at) {
  uint32_t word;
  memcpy(&word, at, sizeof word);
  return word;
}

uint32_t crc_of(uint32_t start, const uint8_t *bytes, uint32_t length) {
  uint32_t crc = ~start;
  if (tables[0][1] == 0) make_tables();
  for (; length >= SLICES; length -= SLICES, bytes += SLICES) {
    crc = of_word(crc ^ load(bytes), 12) ^ of_word(load(bytes + 4), 8) ^
          of_word(load(bytes + 8), 4) ^ of_word(load(bytes + 12), 0);
  }
  for (; length > 0; --length) crc = crc >> 8 ^ tables[0][(crc ^ *bytes++) & 255];
  return ~crc;
}
