// The surviving weights. docs/format.md, "Survival". Included by model.cpp alone.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "adaptive/mixer.hpp"
#include "adaptive/neighbours.hpp"

namespace dcz {
namespace {

template <bool kMatrix>
class Survival {
 public:
  Survival(const Grid& grid, std::uint64_t survivors)
      : density_(density_of(grid, survivors)),
        full_(survivors > grid.size - grid.size / 16),
        by_column_(grid.row, Counter(density_, 3)),
        by_history_(512, Counter(density_, 1)),
        by_count_(kMatrix ? 33 * 32 : 64 * grid.kernel, Counter(density_, 1)),
        by_sizes_(kLevels * kLevels, Counter(density_, 1)),
        mixer_(std::max<std::size_t>(grid.kernel, 4), percent(26), -20) {}

  void begin_row() {
    by_row_ = Counter(density_, 6);
    history_ = recent_ = 0;
  }

  // Gives whether the weight survives: `bit` if the coder encodes.
  template <class Coder>
  bool code(Coder& coder, bool bit, const Place& at, const Around& a) {
    if (at.in_kernel == 0 && !kMatrix) recent_ = 0;
    const unsigned seen = kMatrix ? 8 : static_cast<unsigned>(std::min<std::size_t>(at.in_kernel, 8));
    const std::size_t history = 1u << seen | (history_ & ((1u << seen) - 1));
    if (full_) {
      bit = code_alone(coder, bit, by_history_[history], kCountLimit);
    } else {
      const std::size_t count = kMatrix ? 32 * recent_ + by_row_.p32nd() : 64 * at.in_kernel + recent_;
      const unsigned sizes = kLevels * level(std::abs(a.west) + std::abs(a.west2) / 2) +
                             level(std::abs(a.north) + std::abs(a.northwest) / 2);
      const std::size_t context = kMatrix ? unsigned{a.west != 0} + 2 * unsigned{a.north != 0} : at.in_kernel;
      bit = mixer_.code(coder, bit, context,
                        {&by_row_, &by_column_[at.in_row], &by_history_[history], &by_count_[count], &by_sizes_[sizes]},
                        {255, 127, kCountLimit, kCountLimit, kCountLimit});
    }
    recent_ += bit;
    if (kMatrix) recent_ -= history_ >> 31;
    history_ = history_ << 1 | bit;
    return bit;
  }

 private:
  static std::uint32_t density_of(const Grid& grid, std::uint64_t survivors) {
    const std::uint64_t density = grid.size > 0 ? survivors * 65536 / grid.size : 0;
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(density, 16, 65520));
  }

  std::uint32_t density_;  // 65536ths
  bool full_;
  std::uint32_t history_ = 0, recent_ = 0;  // the last 32, a bit each; the survivors among them, or of the kernel
  Counter by_row_;
  std::vector<Counter> by_column_, by_history_, by_count_, by_sizes_;
  Mixer<5> mixer_;
};

}  // namespace
}  // namespace dcz
