// Bit streams: "filled from the least significant bit of each byte. The last byte is padded with zero bits."
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace dcz {

// One load or store where the bytes already lie in that order. They are static: files compiled for different
// instruction sets must not share a copy.
template <typename Item>
static inline Item load_le(const std::uint8_t* bytes) {
  Item value = 0;
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(&value, bytes, sizeof value);
  } else {
    for (unsigned i = 0; i < sizeof(Item); ++i) value = static_cast<Item>(value | Item{bytes[i]} << (8 * i));
  }
  return value;
}

template <typename Item>
static inline void store_le(std::uint8_t* bytes, Item value) {
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(bytes, &value, sizeof value);
  } else {
    for (unsigned i = 0; i < sizeof(Item); ++i) bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
}

static inline std::uint64_t load_le64(const std::uint8_t* bytes) { return load_le<std::uint64_t>(bytes); }
static inline void store_le64(std::uint8_t* bytes, std::uint64_t value) { store_le(bytes, value); }

// The 64 bits from byte `byte` on; zeros behind the bytes.
static inline std::uint64_t word_at(std::span<const std::uint8_t> bytes, std::uint64_t byte) {
  if (byte + 8 <= bytes.size()) return load_le64(bytes.data() + byte);
  std::uint64_t word = 0;
  for (std::uint64_t i = byte; i < bytes.size(); ++i) word |= std::uint64_t{bytes[i]} << (8 * (i - byte));
  return word;
}

// The lowest `width` bits, 1 to 32, reversed.
inline std::uint32_t reverse_bits(std::uint32_t value, unsigned width) {
  value = (value & 0x55555555u) << 1 | (value >> 1 & 0x55555555u);
  value = (value & 0x33333333u) << 2 | (value >> 2 & 0x33333333u);
  value = (value & 0x0f0f0f0fu) << 4 | (value >> 4 & 0x0f0f0f0fu);
  value = (value & 0x00ff00ffu) << 8 | (value >> 8 & 0x00ff00ffu);
  return (value << 16 | value >> 16) >> (32 - width);
}

class BitWriter {
 public:
  // `size_bytes` is a hint: the buffer grows when it is too small.
  explicit BitWriter(std::size_t size_bytes = 0) : bytes_(size_bytes + 8) {}

  // Needs value < 2^width and at most 56 bits between two flushes.
  void put(std::uint64_t value, unsigned width) {
    pending_ |= value << pending_bits_;
    pending_bits_ += width;
  }

  void flush() {
    if (bytes_.size() - size_ < 8) bytes_.resize(2 * bytes_.size());
    store_le64(bytes_.data() + size_, pending_);
    size_ += pending_bits_ / 8;
    pending_ >>= pending_bits_ & ~7u;
    pending_bits_ &= 7u;
  }

  std::vector<std::uint8_t> finish() {
    flush();
    bytes_.resize(size_ + (pending_bits_ > 0));
    return std::move(bytes_);
  }

 private:
  std::vector<std::uint8_t> bytes_;
  std::size_t size_ = 0;
  std::uint64_t pending_ = 0;
  unsigned pending_bits_ = 0;
};

// Never reads outside its bytes. Behind them it sees zeros: its user checks `size_bytes()` at the end.
class BitReader {
 public:
  explicit BitReader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  // The next bits, the first lowest; 57 of them are valid.
  std::uint64_t peek() const { return word_at(bytes_, position_ / 8) >> (position_ % 8); }

  void skip(unsigned bits) { position_ += bits; }

  // The bytes of the bits read so far.
  std::size_t size_bytes() const { return (position_ + 7) / 8; }
  bool overrun() const { return size_bytes() > bytes_.size(); }

  // Of the byte with the last bit read; not defined after an overrun.
  bool padding_is_zero() const { return position_ % 8 == 0 || bytes_[position_ / 8] >> (position_ % 8) == 0; }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t position_ = 0;
};

}  // namespace dcz
