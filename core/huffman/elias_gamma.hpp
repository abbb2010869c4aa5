// Small numbers in the Elias gamma code of v + 1: "with v + 1 having m binary digits, m - 1 zero bits, then the m
// digits".
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>

#include "common/bits.hpp"
#include "common/error.hpp"

namespace dcz {

inline void put_token(BitWriter& writer, std::uint32_t v) {
  const auto digits = static_cast<unsigned>(std::bit_width(v + 1));
  writer.put(0, digits - 1);
  writer.put(reverse_bits(v + 1, digits), digits);
  writer.flush();
}

// No number in a file exceeds 65,536, so 17 digits are enough. `what` begins at byte `offset`.
inline std::uint32_t take_token(BitReader& reader, const char* what, std::size_t offset) {
  const std::string where = std::string(what) + " at byte " + std::to_string(offset);
  const std::uint64_t window = reader.peek();
  const auto zeros = static_cast<unsigned>(std::countr_zero(window));
  if (zeros > 16) throw FormatError(where + " is truncated or holds a number above 65536");
  reader.skip(2 * zeros + 1);
  if (reader.overrun()) throw FormatError(where + " is truncated");
  const auto digits = static_cast<std::uint32_t>(window >> zeros & ((2ull << zeros) - 1));
  return reverse_bits(digits, zeros + 1) - 1;
}

}  // namespace dcz
