// Bit sequences as gaps between ones, with an escape for gaps that are too long for a symbol.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "common/bitmap.hpp"

namespace dcz {

inline constexpr unsigned kMaxEscape = 255;

// How long the runs of zeros before the ones are: all that is needed to compare escapes.
class GapHistogram {
 public:
  explicit GapHistogram(const Bitmap& sequence);

  std::uint64_t ones() const { return ones_; }
  // The shortest escape that never occurs, or the greatest possible.
  unsigned useful_escape() const;
  // Of the symbols 0 to `escape`.
  std::vector<std::uint64_t> symbol_counts(unsigned escape) const;

 private:
  std::uint64_t ones_ = 0;
  std::array<std::uint64_t, kMaxEscape + 1> short_{};
  std::vector<std::pair<std::uint64_t, std::uint64_t>> long_;  // (gap, count)
};

void put_gaps(std::vector<std::uint8_t>& bytes, const Bitmap& sequence, unsigned escape);

// Fills a bitmap of zeros.
void take_gaps(std::span<const std::uint8_t> data, std::size_t& offset, unsigned threads, Bitmap& sequence);

}  // namespace dcz
