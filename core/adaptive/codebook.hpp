// Centroids as strictly ascending integers <-> the arithmetic coder. docs/format.md, "Centroids".
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string>

#include "adaptive/mixer.hpp"
#include "common/error.hpp"

namespace dcz {

inline void check_ascending(std::span<const std::uint64_t> codebook, unsigned width) {
  for (std::size_t i = 0; i < codebook.size(); ++i) {
    if (static_cast<unsigned>(std::bit_width(codebook[i])) > width) {
      throw std::invalid_argument(std::to_string(codebook[i]) + " does not fit " + std::to_string(width) + " bits");
    }
    if (i > 0 && codebook[i] <= codebook[i - 1]) throw std::invalid_argument("a codebook ascends strictly");
  }
}

// A step of m binary digits has the size 2 m, plus its second digit.
template <class Coder>
class CodebookCoder {
 public:
  CodebookCoder(Coder& coder, unsigned width)
      : coder_(coder), width_(width), last_(static_cast<int>(width) + 8), before_(last_) {}

  // Fills `codebook` if the coder decodes, and leaves it unchanged if the coder encodes.
  void run(std::span<std::uint64_t> codebook) {
    if (!codebook.empty()) codebook[0] = plain(codebook[0], width_);
    for (std::size_t i = 1; i < codebook.size(); ++i) {
      const std::uint64_t step = code_step(codebook[i] - codebook[i - 1]);
      if (step > (~std::uint64_t{0} >> (64 - width_)) - codebook[i - 1]) throw FormatError("the codebook overflows");
      codebook[i] = codebook[i - 1] + step;
    }
  }

 private:
  static constexpr std::uint32_t kHalf = 32768;

  std::uint64_t code_step(std::uint64_t step) {
    const int digits = static_cast<int>(std::bit_width(step));
    const int second = digits > 1 ? static_cast<int>(step >> (digits - 2) & 1) : 0;
    const int expected = (2 * last_ + before_ + 1) / 3;
    const int size = expected + code_change(2 * digits + second - expected, expected);
    before_ = last_;
    last_ = size;
    if (size < 4) return 1;
    const unsigned low = static_cast<unsigned>(size) / 2 - 2;
    return (std::uint64_t{2} | (static_cast<unsigned>(size) & 1)) << low | plain(step, low);
  }

  int code_change(int change, int expected) {
    if (!bit(change != 0, changes_)) return check(0, expected);
    const bool up = bit(change > 0, rises_);
    int distance = 1;
    while (bit(std::abs(change) > distance, further_[static_cast<std::size_t>(std::min(distance, 15))])) {
      check(up ? ++distance : -++distance, expected);
    }
    return check(up ? distance : -distance, expected);
  }

  // "No size is 3, below 2 or above 2 w + 1." While counting, 3 is passed.
  int check(int change, int expected) const {
    const int size = expected + change;
    if (size < 2 || size > 2 * static_cast<int>(width_) + 1) throw FormatError("the codebook has an impossible step");
    return change;
  }

  bool bit(bool value, Counter& counter) { return code_alone(coder_, value, counter, 255); }

  // The lowest `count` bits, the highest of these first.
  std::uint64_t plain(std::uint64_t value, unsigned count) {
    std::uint64_t found = 0;
    while (count-- > 0) found = found << 1 | coder_.code(value >> count & 1, kHalf);
    return found;
  }

  Coder& coder_;
  unsigned width_;
  int last_, before_;  // sizes
  Counter changes_, rises_;
  std::array<Counter, 16> further_;
};

}  // namespace dcz
