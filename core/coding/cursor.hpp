// Reads bytes from front to back. Every length is checked before it is believed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/error.hpp"

namespace dcz {

class Cursor {
 public:
  // `base` is the offset of the bytes in the file, for messages.
  explicit Cursor(std::span<const std::uint8_t> data, std::uint64_t base = 0) : data_(data), base_(base) {}

  std::uint64_t base() const { return base_; }
  std::uint64_t offset() const { return base_ + at_; }
  std::size_t left() const { return data_.size() - at_; }

  // `what` names the field in errors. All of these throw FormatError.
  std::span<const std::uint8_t> take(std::uint64_t count, const std::string& what);
  std::span<const std::uint8_t> rest() { return take(left(), "the rest"); }
  std::uint8_t u8(const char* what) { return take(1, what)[0]; }
  std::uint32_t u32(const char* what);
  std::uint64_t varint(const std::string& what);
  std::span<const std::uint8_t> text(const std::string& what) { return take(varint("length of " + what), what); }

  // Nothing may be left.
  void end(const char* what) const;

  // Calls decode(data, at), a decoder that moves `at` behind the bytes that it read; errors name the payload's offset.
  template <typename Decode>
  auto part(const Decode& decode) {
    try {
      return decode(data_, at_);
    } catch (const FormatError& error) {
      refuse_part(error.what());
    }
  }

  [[noreturn]] void refuse_part(const std::string& why) const;

 private:
  std::span<const std::uint8_t> data_;
  std::uint64_t base_;
  std::size_t at_ = 0;
};

}  // namespace dcz
