// Counts and visits the set bits of a bitmap. Element i is bit i % 8 of byte i / 8.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/bits.hpp"

namespace dcz {

// Twice as fast as std::popcount on plain x86-64, which lacks the instruction.
static inline unsigned count_ones(std::uint64_t bits) {
  bits -= bits >> 1 & 0x5555555555555555u;
  bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
  bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return static_cast<unsigned>(bits * 0x0101010101010101u >> 56);
}

// Calls use(word, i) for the bits from `begin` to `end` - 1, 64 at once. The word's lowest bit is bit i, a multiple
// of 8. Bits before `begin` and from `end` on are 0.
template <typename Use>
void each_word(std::span<const std::uint8_t> bitmap, std::uint64_t begin, std::uint64_t end, const Use& use) {
  for (std::uint64_t i = begin - begin % 8; i < end; i += 64) {
    std::uint64_t word = word_at(bitmap, i / 8);
    if (i < begin) word &= ~std::uint64_t{0} << (begin - i);
    if (end - i < 64) word &= (std::uint64_t{1} << (end - i)) - 1;
    use(word, i);
  }
}

// Calls use(i) for each set bit i of a word that has bit `first` lowest.
template <typename Use>
void each_bit_of(std::uint64_t word, std::uint64_t first, const Use& use) {
  for (; word != 0; word &= word - 1) use(first + static_cast<unsigned>(std::countr_zero(word)));
}

// Calls use(i) for each set bit i from `begin` to `end` - 1.
template <typename Use>
void each_bit(std::span<const std::uint8_t> bitmap, std::uint64_t begin, std::uint64_t end, const Use& use) {
  each_word(bitmap, begin, end, [&](std::uint64_t word, std::uint64_t first) { each_bit_of(word, first, use); });
}

// The set bits from `begin` to `end` - 1.
static inline std::uint64_t count_bits(std::span<const std::uint8_t> bitmap, std::uint64_t begin, std::uint64_t end) {
  constexpr std::uint64_t kWords = 30;  // their ones, byte by byte, are less than 256
  std::uint64_t ones = 0;
  if (begin % 8 == 0) {
    for (; begin + 64 * kWords <= end; begin += 64 * kWords) {
      // compilers make vectors of this loop
      std::uint64_t sums = 0;
      for (std::uint64_t i = 0; i < kWords; ++i) {
        std::uint64_t bits = load_le64(bitmap.data() + begin / 8 + 8 * i);
        bits -= bits >> 1 & 0x5555555555555555u;
        bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
        sums += (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu;
      }
      sums = (sums & 0x00ff00ff00ff00ffu) + (sums >> 8 & 0x00ff00ff00ff00ffu);
      ones += sums * 0x0001000100010001u >> 48;
    }
  }
  each_word(bitmap, begin, end, [&](std::uint64_t word, std::uint64_t) { ones += count_ones(word); });
  return ones;
}

}  // namespace dcz
