// Look-up tables of a canonical code: several symbols at once, or one of any length.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "common/bits.hpp"
#include "huffman/canonical_code.hpp"

namespace dcz {

struct DecodeTable {
  static constexpr unsigned kLookupBits = 11;

  // The symbols, at most three, that the next 11 bits hold whole; none if these begin a longer code.
  struct Entry {
    std::array<std::uint16_t, 3> symbols;
    std::uint8_t bits, count;
  };
  std::array<Entry, 1u << kLookupBits> entries{};

  // Left-aligned codes below limit[l] have at most l bits. The code is complete: all 16 bits are below the last limit.
  std::array<std::uint32_t, kMaxCodeLength + 1> limit{};

  // Needs a code of at least two symbols.
  explicit DecodeTable(const CanonicalCode& code) {
    struct Single {
      std::uint16_t symbol, length;
    };
    std::array<Single, 1u << kLookupBits> singles{};
    for (unsigned length = 1; length <= kMaxCodeLength; ++length) {
      const std::uint32_t count = code.start[length + 1] - code.start[length];
      limit[length] = (code.first[length] + count) << (kMaxCodeLength - length);
      for (std::uint32_t i = 0; length <= kLookupBits && i < count; ++i) {
        const auto symbol = static_cast<std::uint16_t>(code.symbols[code.start[length] + i]);
        const std::uint32_t bits = reverse_bits(code.first[length] + i, length);
        for (std::uint32_t j = bits; j < singles.size(); j += 1u << length) {
          singles[j] = {symbol, static_cast<std::uint16_t>(length)};
        }
      }
    }
    for (std::uint32_t i = 0; i < entries.size(); ++i) {
      Entry& entry = entries[i];
      while (entry.count < entry.symbols.size()) {
        const Single next = singles[i >> entry.bits];
        if (next.length == 0 || entry.bits + next.length > static_cast<int>(kLookupBits)) break;
        entry.symbols[entry.count++] = next.symbol;
        entry.bits = static_cast<std::uint8_t>(entry.bits + next.length);
      }
    }
  }

  // The length of the code at the beginning of 16 bits, the first highest.
  unsigned length_of(std::uint32_t window) const {
    unsigned length = 1;
    while (window >= limit[length]) ++length;
    return length;
  }
};

}  // namespace dcz
