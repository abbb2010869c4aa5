// Bit sequences as symbols of a few consecutive bits each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bitmap.hpp"

namespace dcz {

inline constexpr unsigned kMinPatternBits = 2;
inline constexpr unsigned kMaxPatternBits = 12;

// The counts of every `stride`-th symbol.
std::vector<std::uint64_t> pattern_counts(const Bitmap& sequence, unsigned width, std::uint64_t stride = 1);

// The bytes of `put_patterns`, from the counts.
std::uint64_t pattern_bytes(std::span<const std::uint64_t> counts, unsigned width);

void put_patterns(std::vector<std::uint8_t>& bytes, const Bitmap& sequence, unsigned width);

// Fills a bitmap of zeros.
void take_patterns(std::span<const std::uint8_t> data, std::size_t& offset, unsigned width, unsigned threads,
                   Bitmap& sequence);

}  // namespace dcz
