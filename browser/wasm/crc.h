/* CRC-32 as zlib's, many bytes at a time: the table that boards need is small, and slow. */
#ifndef CRC_H
#define CRC_H

#include <stdint.h>

/* Of `length` bytes, continued from the checksum `start` of the bytes before; 0 at first. */
uint32_t crc_of(uint32_t start, const uint8_t *bytes, uint32_t length);

#endif
