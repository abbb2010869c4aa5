// Counts of floats by their leading bits, for sharing and pruning tensors too large to sort.
#include "sharing/histogram.hpp"

#include <bit>
#include <cstring>
#include <stdexcept>

namespace dcz {
namespace {

constexpr std::uint32_t kSign = 0x80000000u, kInfinity = 0x7f800000u;

bool is_finite(std::uint32_t bits) { return (bits & ~kSign) < kInfinity; }

// Ascends with the value; a negative zero is a zero.
std::uint32_t ordered(std::uint32_t bits) {
  if (bits == kSign) bits = 0;
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

template <typename Item>
void count(std::span<const std::uint8_t> elements, std::uint64_t prefix, unsigned shift,
           std::span<std::uint64_t> counts) {
  constexpr auto kMagnitude = static_cast<Item>(static_cast<Item>(~Item{0}) >> 1);
  const bool whole = shift + kDigitBits >= 8 * sizeof(Item);
  for (std::size_t at = 0; at + sizeof(Item) <= elements.size(); at += sizeof(Item)) {
    Item item;
    std::memcpy(&item, elements.data() + at, sizeof(Item));
    const std::uint64_t magnitude = item & kMagnitude;
    if (whole || magnitude >> (shift + kDigitBits) == prefix) ++counts[magnitude >> shift & (kDigits - 1)];
  }
}

}  // namespace

std::size_t count_digits(std::span<const float> values, std::span<std::uint64_t> counts) {
  if (counts.size() != kDigits) throw std::invalid_argument("there are 65536 digits");
  std::size_t bad = 0;
  for (const float value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if (is_finite(bits)) {
      ++counts[ordered(bits) >> kDigitBits];
    } else {
      ++bad;
    }
  }
  return bad;
}

void add_to_bins(std::span<const float> values, std::span<const std::uint64_t> first,
                 std::span<const std::uint8_t> split, std::span<std::uint64_t> counts, std::span<double> sums) {
  if (first.size() != kDigits || split.size() != kDigits || counts.size() != sums.size()) {
    throw std::invalid_argument("there are 65536 digits, and a sum for each count");
  }
  for (std::size_t digit = 0; digit < kDigits; ++digit) {
    if (split[digit] > kDigitBits || first[digit] > counts.size()) {
      throw std::invalid_argument("a digit is split into at most 65536 bins, which begin within all of them");
    }
  }
  for (const float value : values) {
    const std::uint32_t bits = ordered(std::bit_cast<std::uint32_t>(value));
    const std::uint32_t digit = bits >> kDigitBits, low = bits & (kDigits - 1);
    const std::uint64_t bin = first[digit] + (low >> (kDigitBits - split[digit]));
    if (bin >= counts.size()) throw std::invalid_argument("a value has no bin");
    ++counts[bin];
    sums[bin] += value;
  }
}

void count_magnitudes(std::span<const std::uint8_t> elements, unsigned item_bytes, std::uint64_t prefix, unsigned shift,
                      std::span<std::uint64_t> counts) {
  if (counts.size() != kDigits) throw std::invalid_argument("there are 65536 digits");
  if (shift % kDigitBits != 0 || shift >= 8 * item_bytes) throw std::invalid_argument("digits begin every 16 bits");
  if (item_bytes == 2) return count<std::uint16_t>(elements, prefix, shift, counts);
  if (item_bytes == 4) return count<std::uint32_t>(elements, prefix, shift, counts);
  if (item_bytes == 8) return count<std::uint64_t>(elements, prefix, shift, counts);
  throw std::invalid_argument("elements have 2, 4 or 8 bytes");
}

}  // namespace dcz
