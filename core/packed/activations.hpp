// Vectors to multiply: in float32, or in fixed point with exact sums.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace dcz {

enum class Activations : std::uint8_t { float32, int8 };

// The facts of a vector that choose its arithmetic.
struct Scan {
  float largest;  // of the magnitudes
  float squares;  // their sum; its last digits differ between kernels
  bool finite;
};

// An int32 holds the sum of bytes times digits for so many columns.
inline constexpr std::size_t kIntegerColumns = 65536;

// Whether a finite vector with this largest magnitude can be multiplied in integers.
inline bool fits_integers(std::size_t columns, float largest) {
  return columns <= kIntegerColumns && largest >= std::numeric_limits<float>::min() * 0x1p24f;
}

// Whether 24 bits hold such a vector well enough. A column is off by at most 2^-23 of the largest magnitude. With that
// at most `most_outstanding` times the root mean square, the error stays below that of float32 sums.
inline bool fits24(std::size_t columns, const Scan& scan, float most_outstanding = 16) {
  // between this magnitude and its inverse, the squares of 65536 columns neither overflow nor vanish
  constexpr float kSquared = 0x1p48f;
  const float mean = scan.squares / static_cast<float>(columns > 0 ? columns : 1);
  return fits_integers(columns, scan.largest) && scan.largest <= kSquared && scan.largest >= 1 / kSquared &&
         scan.largest * scan.largest <= most_outstanding * most_outstanding * mean;
}

// A unit of x8.
inline float step8(float largest) { return largest / 127; }

// A unit of x24: the largest magnitude is between 2^22 and `most` of them, whatever rounding does.
inline float step24(float largest, std::int32_t most) {
  int exponent;
  std::frexp(largest, &exponent);
  if (largest > std::ldexp(static_cast<float>(most), exponent - 23)) ++exponent;
  return std::ldexp(1.0f, exponent - 23);
}

// Fixed point: round(x / step) + offset, unsigned. x8: -127 to 127, offset 128. x24: -(2^23 - 1) to 2^23 - 1, offset
// 2^23. A zero of padding is the byte 0, which means -offset. Kernels subtract the sums of digits times the offset.
inline constexpr std::int32_t kOffset8 = 128, kOffset24 = 1 << 23;

// The exact sum, in units of step * scale -> y.
inline float finish_integer(double total, float step, float scale, float bias) {
  return static_cast<float>(total * (static_cast<double>(step) * static_cast<double>(scale))) + bias;
}

}  // namespace dcz
