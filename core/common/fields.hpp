// Fields of a payload. A varint is "unsigned LEB128, seven bits a byte, least significant first ... never longer than
// needed".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/error.hpp"

namespace dcz {

inline void put_varint(std::vector<std::uint8_t>& bytes, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<std::uint8_t>(value | 0x80));
  bytes.push_back(static_cast<std::uint8_t>(value));
}

inline std::size_t varint_bytes(std::uint64_t value) {
  std::size_t bytes = 1;
  for (; value >= 0x80; value >>= 7) ++bytes;
  return bytes;
}

inline void append(std::vector<std::uint8_t>& bytes, std::span<const std::uint8_t> more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

// Takers move `offset` behind their field. `what` names the field in errors.
inline std::uint8_t take_u8(std::span<const std::uint8_t> data, std::size_t& offset, const char* what) {
  if (offset >= data.size()) {
    throw FormatError(std::string(what) + " at byte " + std::to_string(offset) + " is truncated");
  }
  return data[offset++];
}

inline std::uint64_t take_varint(std::span<const std::uint8_t> data, std::size_t& offset, const char* what) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 63; shift += 7) {
    const std::uint8_t byte = take_u8(data, offset, what);
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) {
      if (byte == 0 && shift > 0) throw FormatError("varint before byte " + std::to_string(offset) + " is too long");
      return value;
    }
  }
  throw FormatError("varint before byte " + std::to_string(offset) + " has more than nine bytes");
}

}  // namespace dcz
