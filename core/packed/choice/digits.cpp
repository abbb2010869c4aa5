// The digits of a codebook: each centroid is a digit times one scale, exactly or nearly (docs/method.md).
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "packed/choice/choice.hpp"

namespace dcz {
namespace {

// A float32 as an odd integer times a power of two; zero as 0 * 2^0.
struct Exact {
  std::int64_t odd;
  int power;
};

Exact exact(float value) {
  if (value == 0) return {0, 0};
  int exponent;
  auto integer = static_cast<std::int64_t>(std::ldexp(std::frexp(value, &exponent), 24));
  const int zeros = std::countr_zero(static_cast<std::uint64_t>(integer));
  return {integer / (std::int64_t{1} << zeros), exponent - 24 + zeros};
}

struct OnGrid {
  float scale;
  std::vector<std::int16_t> digits;
};

constexpr std::int64_t kLimit8 = 127, kLimit16 = 32639;

// The centroids as multiples of the largest odd * 2^power that divides all of them.
struct Multiples {
  std::uint64_t odd = 0;
  int power = 0;
  std::int64_t largest = 0;  // of the magnitudes
  std::vector<std::int64_t> quotients;
};

std::optional<Multiples> multiples_of(std::span<const float> codebook) {
  Multiples found;
  std::vector<Exact> all;
  bool first = true;
  for (const float each : codebook) {
    if (!std::isfinite(each)) return std::nullopt;
    all.push_back(exact(each));
    if (all.back().odd == 0) continue;
    found.odd = std::gcd(found.odd, static_cast<std::uint64_t>(std::abs(all.back().odd)));
    found.power = first ? all.back().power : std::min(found.power, all.back().power);
    first = false;
  }
  for (const Exact& each : all) {
    const int shift = each.odd == 0 ? 0 : each.power - found.power;
    if (shift > 15) return std::nullopt;  // no digit is so large
    const std::int64_t quotient =
        each.odd == 0 ? 0 : each.odd / static_cast<std::int64_t>(found.odd) * (std::int64_t{1} << shift);
    found.quotients.push_back(quotient);
    found.largest = std::max(found.largest, std::abs(quotient));
  }
  return found;
}

// A scale has so many significant bits that its multiples up to `limit` are float32.
std::optional<OnGrid> on_grid(const Multiples& all, std::int64_t limit) {
  const unsigned scale_bits = 24 - static_cast<unsigned>(std::bit_width(static_cast<std::uint64_t>(limit)));
  // the least odd number of equal parts that makes the scale short enough
  const auto most = static_cast<std::uint64_t>(limit / all.largest);
  for (std::uint64_t parts = all.odd >> scale_bits | 1; parts <= most; parts += 2) {
    if (all.odd % parts != 0 || static_cast<unsigned>(std::bit_width(all.odd / parts)) > scale_bits) continue;
    OnGrid found{std::ldexp(static_cast<float>(all.odd / parts), all.power), {}};
    for (const std::int64_t each : all.quotients) {
      found.digits.push_back(static_cast<std::int16_t>(each * static_cast<std::int64_t>(parts)));
    }
    return found;
  }
  return std::nullopt;
}

// The scale and the digits of int8 whose products approximate the centroids.
OnGrid nearest(std::span<const float> codebook) {
  float largest = 0;
  for (const float each : codebook)
    largest = std::isfinite(each) && std::isfinite(largest) ? std::max(largest, std::abs(each))
                                                            : std::numeric_limits<float>::infinity();
  OnGrid found{1, std::vector<std::int16_t>(codebook.size())};
  if (largest == 0 || !std::isfinite(largest)) return found;
  found.scale = static_cast<float>(static_cast<double>(largest) / kLimit8);
  for (std::size_t i = 0; i < codebook.size(); ++i) {
    if (codebook[i] == 0) continue;
    const double digit = std::nearbyint(static_cast<double>(codebook[i]) / static_cast<double>(found.scale));
    found.digits[i] = static_cast<std::int16_t>(std::clamp(digit, -1.0 * kLimit8, 1.0 * kLimit8));
  }
  return found;
}

}  // namespace

Digits digits_of(std::span<const float> codebook) {
  const auto multiples = multiples_of(codebook);
  if (multiples && multiples->largest == 0) return {Grid::int8, 1, 0, std::vector<std::int16_t>(codebook.size()), {}};
  if (multiples) {
    if (auto found = on_grid(*multiples, kLimit8)) return {Grid::int8, found->scale, 0, std::move(found->digits), {}};
  }
  OnGrid int8 = nearest(codebook);
  if (multiples) {
    if (auto found = on_grid(*multiples, kLimit16)) {
      return {Grid::int16, int8.scale, found->scale, std::move(int8.digits), std::move(found->digits)};
    }
  }
  return {Grid::none, int8.scale, 0, std::move(int8.digits), {}};
}

}  // namespace dcz
