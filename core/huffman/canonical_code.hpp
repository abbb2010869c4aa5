// A canonical Huffman code from its lengths, or the flaw in them.
//
// "Shorter ones first, within a length by symbol, each the previous one plus one, extended by zeros when the length
// grows, the first all zeros."
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dcz {

inline constexpr unsigned kMaxCodeLength = 16;

// The symbols in code order, and where each length begins.
struct CanonicalCode {
  std::vector<std::uint32_t> symbols;                     // by (length, symbol)
  std::array<std::uint32_t, kMaxCodeLength + 1> first{};  // the first code of each length
  std::array<std::uint32_t, kMaxCodeLength + 2> start{};  // index into `symbols` of each length's first
  std::string flaw;                                       // of the lengths; empty if they make a code

  explicit CanonicalCode(std::span<const std::uint8_t> lengths) {
    std::array<std::uint32_t, kMaxCodeLength + 1> count{};
    for (std::size_t symbol = 0; symbol < lengths.size(); ++symbol) {
      if (lengths[symbol] > kMaxCodeLength) {
        flaw = "symbol " + std::to_string(symbol) + " has length " + std::to_string(lengths[symbol]) + ", above 16";
        return;
      }
      ++count[lengths[symbol]];
    }
    count[0] = 0;
    std::uint32_t code = 0, filled = 0;
    for (unsigned length = 1; length <= kMaxCodeLength; ++length) {
      code = (code + count[length - 1]) << 1;
      first[length] = code;
      start[length + 1] = start[length] + count[length];
      filled += count[length] << (kMaxCodeLength - length);
    }
    const std::uint32_t used = start[kMaxCodeLength + 1];
    if (used > 1 && filled != 1u << kMaxCodeLength) {
      flaw = "the lengths fill " + std::to_string(filled) + " of 65536 parts of the code space";
      return;
    }
    if (used == 1 && count[1] != 1) {
      flaw = "the only symbol's length is not 1";
      return;
    }
    symbols.resize(used);
    auto next = start;
    for (std::size_t symbol = 0; symbol < lengths.size(); ++symbol) {
      if (lengths[symbol] > 0) symbols[next[lengths[symbol]]++] = static_cast<std::uint32_t>(symbol);
    }
  }
};

}  // namespace dcz
