// The surviving elements of a tensor, as a bitmap, and the place of survivor number n.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bit_walk.hpp"

namespace dcz {

class Survivors {
 public:
  // An empty bitmap stands for all `size` elements. The bitmap must outlive this, and have no bit at or behind `size`.
  Survivors(std::span<const std::uint8_t> bitmap, std::size_t size) : bitmap_(bitmap), size_(size) {
    std::size_t count = 0;
    each_word(bitmap, 0, 8 * bitmap.size(), [&](std::uint64_t word, std::uint64_t first) {
      if (first % kElementsPerMark == 0) marks_.push_back(count);
      count += count_ones(word);
    });
    marks_.push_back(count);
  }

  std::size_t count() const { return bitmap_.empty() ? size_ : marks_.back(); }

  // Calls put(element, i) for survivor number first + i, for i from 0 to count - 1.
  template <typename Put>
  void visit(std::size_t first, std::size_t count, const Put& put) const {
    std::size_t i = 0;
    if (bitmap_.empty()) {
      for (; i < count; ++i) put(first + i, i);
      return;
    }
    each_bit(bitmap_, element(first), element(first + count), [&](std::uint64_t at) { put(at, i++); });
  }

 private:
  static constexpr std::uint64_t kElementsPerMark = 64 * 512;

  // The place of survivor `number`; behind all elements for the number of all survivors.
  std::uint64_t element(std::size_t number) const {
    if (number == marks_.back()) return size_;
    const auto mark = std::upper_bound(marks_.begin(), marks_.end(), number) - marks_.begin() - 1;
    std::uint64_t at = static_cast<std::uint64_t>(mark) * kElementsPerMark, word = word_at(bitmap_, at / 8);
    std::size_t left = number - marks_[static_cast<std::size_t>(mark)];
    for (unsigned here = count_ones(word); left >= here; here = count_ones(word)) {
      left -= here;
      at += 64;
      word = word_at(bitmap_, at / 8);
    }
    for (; left > 0; --left) word &= word - 1;
    return at + static_cast<unsigned>(std::countr_zero(word));
  }

  std::span<const std::uint8_t> bitmap_;
  std::size_t size_;
  std::vector<std::size_t> marks_;  // survivors before each `kElementsPerMark` elements, and all of them
};

}  // namespace dcz
