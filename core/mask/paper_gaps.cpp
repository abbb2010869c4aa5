// Positions <-> gaps with fillers: the relative index of the paper's section 2, figure 2.
#include "mask/paper_gaps.hpp"

#include <stdexcept>
#include <string>

#include "common/error.hpp"

namespace dcz {
namespace {

// Calls use(fillers, gap) for each survivor. "A gap g means: step forward by g + 1 from the previous entry, the first
// from position -1"; a filler stands "at step 2^b, as often as needed".
template <typename Use>
void each_gap(std::span<const std::int64_t> positions, unsigned gap_bits, Use use) {
  if (gap_bits < 2 || gap_bits > 16) {
    throw std::invalid_argument("gap_bits is " + std::to_string(gap_bits) + ", expected 2 to 16");
  }
  std::int64_t previous = -1;
  for (const std::int64_t position : positions) {
    if (position <= previous) {
      throw std::invalid_argument("position " + std::to_string(position) + " follows " + std::to_string(previous) +
                                  ": positions must ascend from 0");
    }
    const auto skipped = static_cast<std::uint64_t>(position) - static_cast<std::uint64_t>(previous) - 1;
    use(skipped >> gap_bits, static_cast<std::uint16_t>(skipped & ((1u << gap_bits) - 1)));
    previous = position;
  }
}

}  // namespace

PaperGapCounts paper_gap_counts(std::span<const std::int64_t> positions, unsigned gap_bits) {
  PaperGapCounts result{std::vector<std::uint64_t>(gap_bits <= 16 ? std::size_t{1} << gap_bits : 0), 0};
  each_gap(positions, gap_bits, [&](std::uint64_t fillers, std::uint16_t gap) {
    result.fillers += fillers;
    ++result.counts[gap];
  });
  result.counts.back() += result.fillers;
  return result;
}

void to_paper_gaps(std::span<const std::int64_t> positions, unsigned gap_bits, std::span<std::uint16_t> gaps,
                   std::span<bool> filler) {
  std::size_t entry = 0;
  each_gap(positions, gap_bits, [&](std::uint64_t fillers, std::uint16_t gap) {
    for (; fillers > 0; --fillers, ++entry) {
      gaps[entry] = static_cast<std::uint16_t>((1u << gap_bits) - 1);
      filler[entry] = true;
    }
    gaps[entry] = gap;
    filler[entry++] = false;
  });
}

void from_paper_gaps(std::span<const std::uint16_t> gaps, std::span<const std::uint8_t> filler, std::uint64_t size,
                     std::span<std::int64_t> positions) {
  std::uint64_t next = 0;
  std::size_t survivor = 0;
  for (std::size_t entry = 0; entry < gaps.size(); ++entry) {
    next += gaps[entry] + std::uint64_t{1};
    positions[survivor] = static_cast<std::int64_t>(next - 1);
    survivor += filler[entry] == 0;
  }
  // Entries ascend: if the last one is within, all are.
  if (next > size) {
    throw FormatError("the last of " + std::to_string(gaps.size()) + " entries is at position " +
                      std::to_string(next - 1) + ", but there are only " + std::to_string(size) + " elements");
  }
}

std::vector<std::uint64_t> fillers_by_gap_bits(const Bitmap& survivors) {
  std::vector<std::uint64_t> fillers(15);
  std::uint64_t next = 0;
  survivors.each([&](std::uint64_t position) {
    for (std::uint64_t skipped = (position - next) >> 2, i = 0; skipped > 0 && i < fillers.size(); skipped >>= 1) {
      fillers[i++] += skipped;
    }
    next = position + 1;
  });
  return fillers;
}

}  // namespace dcz
