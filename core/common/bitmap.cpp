// Bitmaps of survivors: element i is bit i % 8 of byte i / 8.
#include "common/bitmap.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace dcz {

Bitmap::Bitmap(std::span<const std::uint8_t> bytes, std::uint64_t size) : Bitmap(size) {
  if (bytes.size() != size_bytes(size)) {
    throw std::invalid_argument("a bitmap of " + std::to_string(size) + " elements has " +
                                std::to_string(size_bytes(size)) + " bytes; found " + std::to_string(bytes.size()));
  }
  if (size % 8 > 0 && bytes.back() >> (size % 8) > 0) {
    throw std::invalid_argument("the bitmap has a bit set behind its " + std::to_string(size) + " elements");
  }
  std::copy(bytes.begin(), bytes.end(), bytes_.begin());
}

std::vector<std::uint8_t> Bitmap::release() {
  bytes_.resize(size_bytes(size_));
  return std::move(bytes_);
}

std::uint64_t Bitmap::count() const {
  std::uint64_t ones = 0;
  for (std::size_t i = 0; i < size_bytes(size_); i += 8) ones += count_ones(load_le64(bytes_.data() + i));
  return ones;
}

std::uint64_t Bitmap::count(std::uint64_t begin, std::uint64_t end) const { return count_bits(bytes(), begin, end); }

void Bitmap::complement() {
  const std::size_t size = size_bytes(size_);
  for (std::size_t i = 0; i < size; ++i) bytes_[i] = static_cast<std::uint8_t>(~bytes_[i]);
  if (size_ % 8 > 0) bytes_[size - 1] &= static_cast<std::uint8_t>((1u << (size_ % 8)) - 1);
}

void put_positions(const Bitmap& bitmap, std::span<std::int64_t> positions) {
  std::int64_t* next = positions.data();
  bitmap.each([&](std::uint64_t i) { *next++ = static_cast<std::int64_t>(i); });
}

Bitmap bitmap_of(std::span<const std::int64_t> positions, std::uint64_t size) {
  Bitmap bitmap(size);
  std::int64_t previous = -1;
  for (const std::int64_t position : positions) {
    if (position <= previous || static_cast<std::uint64_t>(position) >= size) {
      throw std::invalid_argument("position " + std::to_string(position) + " follows " + std::to_string(previous) +
                                  ": positions must ascend strictly from 0 and stay below " + std::to_string(size));
    }
    bitmap.set(static_cast<std::uint64_t>(position));
    previous = position;
  }
  return bitmap;
}

Bitmap transposed(const Bitmap& matrix, std::uint64_t rows, std::uint64_t columns) {
  Bitmap result(matrix.size());
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::uint64_t begin = row * columns;
    matrix.each(begin, begin + columns, [&](std::uint64_t i) { result.set((i - begin) * rows + row); });
  }
  return result;
}

}  // namespace dcz
