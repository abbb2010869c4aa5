// Whether bytes are UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstdint>
#include <span>

namespace dcz {

inline bool is_utf8(std::span<const std::uint8_t> bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const std::uint8_t first = bytes[at];
    const std::size_t more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (first >= 0x80 && (first < 0xc2 || first > 0xf4)) return false;
    if (more >= bytes.size() - at) return false;
    for (std::size_t i = 1; i <= more; ++i) {
      const std::uint8_t byte = bytes[at + i];
      if (byte >> 6 != 2) return false;
      if (i > 1) continue;
      if ((first == 0xe0 && byte < 0xa0) || (first == 0xed && byte > 0x9f)) return false;
      if ((first == 0xf0 && byte < 0x90) || (first == 0xf4 && byte > 0x8f)) return false;
    }
    at += more + 1;
  }
  return true;
}

}  // namespace dcz
