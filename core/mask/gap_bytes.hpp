// Bit sequences as gaps between ones. Gaps too long for a symbol have an escape.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "common/bitmap.hpp"

namespace dcz {

inline constexpr unsigned kMaxEscape = 255;

// The lengths of the runs of zeros before ones: enough to compare escapes.
class GapHistogram {
 public:
  explicit GapHistogram(const Bitmap& sequence);

  std::uint64_t ones() const { return ones_; }
  // The shortest escape that never occurs, or the longest allowed.
  unsigned useful_escape() const;
  // For the symbols 0 to `escape`.
  std::vector<std::uint64_t> symbol_counts(unsigned escape) const;

 private:
  std::uint64_t ones_ = 0;
  std::array<std::uint64_t, kMaxEscape + 1> short_{};  // counts by gap
  std::map<std::uint64_t, std::uint64_t> long_;
};

void put_gaps(std::vector<std::uint8_t>& bytes, const Bitmap& sequence, unsigned escape);

// Fills a bitmap of zeros.
void take_gaps(std::span<const std::uint8_t> data, std::size_t& offset, unsigned threads, Bitmap& sequence);

}  // namespace dcz
