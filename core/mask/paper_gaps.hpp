// Positions <-> gaps with fillers: the relative index of the paper's section 2, figure 2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bitmap.hpp"

namespace dcz {

struct PaperGapCounts {
  std::vector<std::uint64_t> counts;  // of each gap, fillers included
  std::uint64_t fillers;
};

// Positions are strictly ascending and not negative; `gap_bits` is 2 to 16.
PaperGapCounts paper_gap_counts(std::span<const std::int64_t> positions, unsigned gap_bits);

// Both outputs have one element for each position and each filler.
void to_paper_gaps(std::span<const std::int64_t> positions, unsigned gap_bits, std::span<std::uint16_t> gaps,
                   std::span<bool> filler);

// `filler` holds truth values of any byte. `positions` has one element more than there are survivors.
void from_paper_gaps(std::span<const std::uint16_t> gaps, std::span<const std::uint8_t> filler, std::uint64_t size,
                     std::span<std::int64_t> positions);

// The fillers among gaps of 2, 3 ... 16 bits of a bitmap's survivors.
std::vector<std::uint64_t> fillers_by_gap_bits(const Bitmap& survivors);

}  // namespace dcz
