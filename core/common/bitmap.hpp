// Bitmaps of survivors: element i is bit i % 8 of byte i / 8.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bits.hpp"

namespace dcz {

// Without the instruction that plain x86-64 lacks, and twice as fast as the library's table there.
inline unsigned count_ones(std::uint64_t bits) {
  bits -= bits >> 1 & 0x5555555555555555u;
  bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
  bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return static_cast<unsigned>(bits * 0x0101010101010101u >> 56);
}

// Its bits from `size` on are zero. Eight bytes more than needed are held, so that any bit can be read as part of a
// word and the bit behind the last one can be touched.
class Bitmap {
 public:
  explicit Bitmap(std::uint64_t size) : size_(size), bytes_(size_bytes(size) + 8) {}

  // Throws std::invalid_argument if the bytes are not as many as `size` needs or a bit behind `size` is set.
  Bitmap(std::span<const std::uint8_t> bytes, std::uint64_t size);

  static std::size_t size_bytes(std::uint64_t size) { return static_cast<std::size_t>(size / 8 + (size % 8 > 0)); }

  std::uint64_t size() const { return size_; }
  std::uint8_t* data() { return bytes_.data(); }
  std::span<const std::uint8_t> bytes() const { return std::span(bytes_).first(size_bytes(size_)); }
  std::vector<std::uint8_t> release();

  void set(std::uint64_t i) { bytes_[i / 8] = static_cast<std::uint8_t>(bytes_[i / 8] | 1u << (i % 8)); }

  // 57 bits from bit i on, the first one lowest; zeros behind the last.
  std::uint64_t window(std::uint64_t i) const { return load_le64(bytes_.data() + i / 8) >> (i % 8); }

  std::uint64_t count() const;
  std::uint64_t count(std::uint64_t begin, std::uint64_t end) const;

  void complement();

  // Calls use(i) for each set bit i from `begin` to `end` - 1, ascending.
  template <typename Use>
  void each(std::uint64_t begin, std::uint64_t end, Use use) const {
    constexpr std::uint64_t kStep = 56;
    for (std::uint64_t i = begin; i < end; i += kStep) {
      const std::uint64_t wide = std::min(kStep, end - i);
      for (std::uint64_t bits = window(i) & ((1ull << wide) - 1); bits > 0; bits &= bits - 1) {
        use(i + static_cast<unsigned>(std::countr_zero(bits)));
      }
    }
  }

  template <typename Use>
  void each(Use use) const {
    each(0, size_, use);
  }

 private:
  std::uint64_t size_;
  std::vector<std::uint8_t> bytes_;
};

// The bitmap of strictly ascending positions below `size`; throws std::invalid_argument for others.
Bitmap bitmap_of(std::span<const std::int64_t> positions, std::uint64_t size);

// The matrix's transposed, both in C order.
Bitmap transposed(const Bitmap& matrix, std::uint64_t rows, std::uint64_t columns);

}  // namespace dcz
