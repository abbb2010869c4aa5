// The bits of one row of a matrix, out of a bitmap in which rows follow each other without padding.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

#include "common/bits.hpp"

namespace dcz {

// Calls take(word, done) for `count` bits from bit `first` on, up to 64 of them at once, the first in bit 0: `done`
// have been before. What stands above the last of them is 0.
template <typename Take>
void visit_words(std::span<const std::uint8_t> bitmap, std::uint64_t first, std::uint64_t count, const Take& take) {
  for (std::uint64_t done = 0; done < count;) {
    const std::uint64_t at = first + done, byte = at / 8;
    std::uint64_t word = 0;
    if (byte + 8 <= bitmap.size()) {
      word = load_le64(bitmap.data() + byte);
    } else {
      for (std::uint64_t i = byte; i < bitmap.size(); ++i) word |= std::uint64_t{bitmap[i]} << (8 * (i - byte));
    }
    word >>= at % 8;
    const std::uint64_t here = std::min<std::uint64_t>(64 - at % 8, count - done);
    if (here < 64) word &= (std::uint64_t{1} << here) - 1;
    take(word, done);
    done += here;
  }
}

// Calls take(bit) for each that is set, counted from `first`.
template <typename Take>
void visit_bits(std::span<const std::uint8_t> bitmap, std::uint64_t first, std::uint64_t count, const Take& take) {
  visit_words(bitmap, first, count, [&](std::uint64_t word, std::uint64_t done) {
    for (; word != 0; word &= word - 1) take(done + static_cast<std::uint64_t>(std::countr_zero(word)));
  });
}

inline std::uint32_t count_bits(std::span<const std::uint8_t> bitmap, std::uint64_t first, std::uint64_t count) {
  std::uint32_t bits = 0;
  visit_words(bitmap, first, count,
              [&](std::uint64_t word, std::uint64_t) { bits += static_cast<std::uint32_t>(std::popcount(word)); });
  return bits;
}

}  // namespace dcz
