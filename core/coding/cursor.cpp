// Reads bytes from front to back. Every length is checked before it is believed.
#include "coding/cursor.hpp"

#include "common/bits.hpp"

namespace dcz {

std::span<const std::uint8_t> Cursor::take(std::uint64_t count, const std::string& what) {
  if (count > left()) {
    throw FormatError(what + " at offset " + std::to_string(offset()) + " needs " + std::to_string(count) + " bytes, " +
                      std::to_string(left()) + " are left");
  }
  const auto taken = data_.subspan(at_, static_cast<std::size_t>(count));
  at_ += taken.size();
  return taken;
}

std::uint32_t Cursor::u32(const char* what) { return load_le<std::uint32_t>(take(4, what).data()); }

std::uint64_t Cursor::varint(const std::string& what) {
  const std::uint64_t start = offset();
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 63; shift += 7) {
    const std::uint8_t byte = take(1, what)[0];
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte >= 0x80) continue;
    if (byte == 0 && shift > 0) {
      throw FormatError(what + " at offset " + std::to_string(start) + " is written longer than needed");
    }
    return value;
  }
  throw FormatError(what + " at offset " + std::to_string(start) + " is longer than 9 bytes");
}

void Cursor::end(const char* what) const {
  if (left() > 0) {
    throw FormatError(std::to_string(left()) + " bytes are left over behind " + what + " at offset " +
                      std::to_string(offset()));
  }
}

void Cursor::refuse_part(const std::string& why) const {
  throw FormatError("in the payload at offset " + std::to_string(base_) + ": " + why);
}

}  // namespace dcz
