// Counts of floats by their leading bits, for sharing and pruning tensors too large to sort.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dcz {

inline constexpr unsigned kDigitBits = 16;
inline constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;

// Counts finite floats by their digit: the first 16 bits of an integer that ascends with them, 0.0 and -0.0 alike.
// Gives the number of the others, which it does not count.
std::size_t count_digits(std::span<const float> values, std::span<std::uint64_t> counts);

// Adds to the count and the sum of each value's bin. The values of digit d go by the next `split[d]` bits, at most 16,
// to a bin from `first[d]` on.
void add_to_bins(std::span<const float> values, std::span<const std::uint64_t> first,
                 std::span<const std::uint8_t> split, std::span<std::uint64_t> counts, std::span<double> sums);

// Counts magnitudes, which are floats of 2, 4 or 8 bytes as integers without the sign. It counts those with the higher
// bits `prefix`, by their 16 bits from `shift` on.
void count_magnitudes(std::span<const std::uint8_t> elements, unsigned item_bytes, std::uint64_t prefix, unsigned shift,
                      std::span<std::uint64_t> counts);

}  // namespace dcz
