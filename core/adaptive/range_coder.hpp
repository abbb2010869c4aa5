// A range coder for binary decisions, with probabilities in 65536ths. Encoder and decoder have the same call: the
// encoder returns the bit that it takes, the decoder the bit that it finds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dcz {

class RangeEncoder {
 public:
  // `p` is the probability of a one, from 1 to 65535.
  bool code(bool bit, std::uint32_t p) {
    const std::uint64_t ones = (range_ >> 16) * p;
    // no branches: half of them would be mispredicted
    const std::uint64_t zero = std::uint64_t{bit} - 1;
    const std::uint64_t low = low_;
    low_ += ones & zero;
    if (low_ < low) carry();
    range_ = ones + ((range_ - 2 * ones) & zero);
    if (range_ >> 32 == 0) {
      put_word();
      range_ <<= 32;
    }
    return bit;
  }

  // "The number of the last interval that ends in the most zero bytes". Without these bytes: a reader adds them.
  std::vector<std::uint8_t> finish() {
    for (unsigned zeros = 56;; zeros -= 8) {
      const std::uint64_t up = (0 - low_) & ((std::uint64_t{1} << zeros) - 1);
      if (up >= range_) continue;
      if (low_ + up < low_) carry();
      low_ += up;
      break;
    }
    put_word();
    put_word();
    while (!bytes_.empty() && bytes_.back() == 0) bytes_.pop_back();
    return std::move(bytes_);
  }

 private:
  void put_word() {
    for (int i = 0; i < 4; ++i, low_ <<= 8) bytes_.push_back(static_cast<std::uint8_t>(low_ >> 56));
  }

  void carry() {
    for (auto byte = bytes_.rbegin(); ++*byte == 0;) ++byte;
  }

  std::vector<std::uint8_t> bytes_;
  std::uint64_t low_ = 0, range_ = ~std::uint64_t{0};
};

// Behind the end of its bytes it reads zeros: its user checks `exact()` at the end.
class RangeDecoder {
 public:
  explicit RangeDecoder(std::span<const std::uint8_t> bytes) : bytes_(bytes) {
    take_word();
    take_word();
  }

  bool code(bool, std::uint32_t p) {
    const std::uint64_t ones = (range_ >> 16) * p;
    const bool bit = value_ < ones;
    // no branches: half of them would be mispredicted
    const std::uint64_t zero = std::uint64_t{bit} - 1;
    value_ -= ones & zero;
    range_ = ones + ((range_ - 2 * ones) & zero);
    if (range_ >> 32 == 0) {
      take_word();
      range_ <<= 32;
    }
    return bit;
  }

  // "No byte is left over, and the last one is not zero."
  bool exact() const { return bytes_.size() <= position_ && (bytes_.empty() || bytes_.back() != 0); }

 private:
  void take_word() {
    std::uint32_t word = 0;
    if (position_ + 4 <= bytes_.size()) {
      const std::uint8_t* const at = bytes_.data() + position_;
      word = std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 | std::uint32_t{at[2]} << 8 | at[3];
    } else {
      for (std::size_t i = position_; i < position_ + 4; ++i) word = word << 8 | (i < bytes_.size() ? bytes_[i] : 0u);
    }
    position_ += 4;
    value_ = value_ << 32 | word;
  }

  std::span<const std::uint8_t> bytes_;
  std::size_t position_ = 0;
  std::uint64_t value_ = 0, range_ = ~std::uint64_t{0};
};

}  // namespace dcz
