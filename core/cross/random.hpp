// Random numbers and checksums that are the same on every machine.
#pragma once

#include <cstdint>
#include <span>

// Marsaglia's xorshift: generators of libraries may differ.
inline std::uint64_t random_bits() {
  static std::uint64_t state = 1;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

// FNV-1a.
inline std::uint64_t checksum(std::span<const std::uint8_t> bytes) {
  std::uint64_t sum = 0xcbf29ce484222325;
  for (const std::uint8_t byte : bytes) sum = (sum ^ byte) * 0x100000001b3;
  return sum;
}
