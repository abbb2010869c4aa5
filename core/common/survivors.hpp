// Which elements of a tensor survive, as a bitmap: element i is bit i % 8 of byte i / 8.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bits.hpp"

namespace dcz {

class Survivors {
 public:
  // An empty bitmap stands for all `size` elements. The bitmap must outlive it, and have no bit at or behind `size`.
  Survivors(std::span<const std::uint8_t> bitmap, std::size_t size) : bitmap_(bitmap), size_(size) {
    if (bitmap.empty()) return;
    std::size_t count = 0;
    for (std::size_t word = 0; word < words(); ++word) {
      if (word % kWordsPerMark == 0) marks_.push_back(count);
      count += static_cast<std::size_t>(std::popcount(load_word(word)));
    }
    marks_.push_back(count);
  }

  std::size_t count() const { return bitmap_.empty() ? size_ : marks_.back(); }

  // put(element, i) for survivors number first + i, i from 0 to count - 1.
  template <typename Put>
  void visit(std::size_t first, std::size_t count, const Put& put) const {
    if (bitmap_.empty()) {
      for (std::size_t i = 0; i < count; ++i) put(first + i, i);
      return;
    }
    const auto mark =
        static_cast<std::size_t>(std::upper_bound(marks_.begin(), marks_.end() - 1, first) - marks_.begin()) - 1;
    std::size_t word = mark * kWordsPerMark, skip = first - marks_[mark], done = 0;
    for (; done < count; ++word) {
      std::uint64_t bits = load_word(word);
      const auto here = static_cast<std::size_t>(std::popcount(bits));
      if (skip >= here) {
        skip -= here;
        continue;
      }
      for (; skip > 0; --skip) bits &= bits - 1;
      for (; bits != 0 && done < count; bits &= bits - 1) {
        put(64 * word + static_cast<std::size_t>(std::countr_zero(bits)), done++);
      }
    }
  }

 private:
  static constexpr std::size_t kWordsPerMark = 512;

  std::size_t words() const { return (bitmap_.size() + 7) / 8; }
  std::uint64_t load_word(std::size_t word) const {
    if (8 * word + 8 <= bitmap_.size()) return load_le64(bitmap_.data() + 8 * word);
    std::uint64_t bits = 0;
    for (std::size_t i = 8 * word; i < bitmap_.size(); ++i) bits |= std::uint64_t{bitmap_[i]} << (8 * (i % 8));
    return bits;
  }

  std::span<const std::uint8_t> bitmap_;
  std::size_t size_;
  std::vector<std::size_t> marks_;  // survivors before each `kWordsPerMark` words, and all of them
};

}  // namespace dcz
