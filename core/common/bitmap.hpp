// Bitmaps of survivors: element i is bit i % 8 of byte i / 8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bit_walk.hpp"

namespace dcz {

// Bits from `size` on are zero. It holds eight bytes more than it needs: any bit can be read as part of a word, and the
// bit behind the last one can be touched.
class Bitmap {
 public:
  explicit Bitmap(std::uint64_t size) : size_(size), bytes_(size_bytes(size) + 8) {}

  // Throws std::invalid_argument for another number of bytes than `size` needs, or a set bit behind `size`.
  Bitmap(std::span<const std::uint8_t> bytes, std::uint64_t size);

  static std::size_t size_bytes(std::uint64_t size) { return static_cast<std::size_t>(size / 8 + (size % 8 > 0)); }

  std::uint64_t size() const { return size_; }
  std::uint8_t* data() { return bytes_.data(); }
  std::span<const std::uint8_t> bytes() const { return std::span(bytes_).first(size_bytes(size_)); }
  std::vector<std::uint8_t> release();

  void set(std::uint64_t i) { bytes_[i / 8] = static_cast<std::uint8_t>(bytes_[i / 8] | 1u << (i % 8)); }

  // 57 bits from bit i on, the first lowest; zeros behind the last.
  std::uint64_t window(std::uint64_t i) const { return load_le64(bytes_.data() + i / 8) >> (i % 8); }

  std::uint64_t count() const;
  std::uint64_t count(std::uint64_t begin, std::uint64_t end) const;

  void complement();

  // Calls use(i) for each set bit i from `begin` to `end` - 1, ascending.
  template <typename Use>
  void each(std::uint64_t begin, std::uint64_t end, const Use& use) const {
    each_bit(bytes(), begin, end, use);
  }

  template <typename Use>
  void each(const Use& use) const {
    each(0, size_, use);
  }

 private:
  std::uint64_t size_;
  std::vector<std::uint8_t> bytes_;
};

// Fills `positions` with the set bits, ascending; there is one for each.
void put_positions(const Bitmap& bitmap, std::span<std::int64_t> positions);

// The bitmap of strictly ascending positions below `size`; throws std::invalid_argument for others.
Bitmap bitmap_of(std::span<const std::int64_t> positions, std::uint64_t size);

// The transposed matrix, both in C order.
Bitmap transposed(const Bitmap& matrix, std::uint64_t rows, std::uint64_t columns);

}  // namespace dcz
