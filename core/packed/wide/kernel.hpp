// Kernels of the form `wide`, one set of functions for each instruction set.
#pragma once

#include "common/kernels.hpp"
#include "packed/wide/wide.hpp"
#include "packed/window/kernel.hpp"

namespace dcz {

// How a vector is multiplied. `floats`: float32 all through. The others in integers, whose sums are exact, so that
// every kernel gives the same bits: x as fixed point of 8 bits times the int8 digits, or of 24 bits times digits24().
enum class WideArithmetic : std::uint8_t { floats, x8, x24 };

// y[row] = sum + bias[row] for the rows of the groups first to last - 1. `step` is what one unit of the fixed-point
// form of x stands for.
struct WideTask {
  const WideView* view;
  WideArithmetic arithmetic;
  const float* x;
  float step;
  std::uint8_t* prepared;  // aligned to 64 bytes
  const float* bias;       // rows, or null
  float* y;
};

struct WideKernel {
  Scan (*scan)(const float* x, std::size_t columns);
  std::size_t (*prepared_bytes)(const WideTask& task);
  void (*prepare)(const WideTask& task);
  void (*run)(const WideTask& task, std::size_t first_group, std::size_t last_group);
};

extern const WideKernel kWidePortable, kWideAvx512;

inline constexpr KernelTable<const WideKernel> kWide{.portable = &kWidePortable, .avx512 = DCZ_IF_X86(&kWideAvx512)};

// Fixed point of x: round(x / step), x8 from -127 to 127, x24 from -kMost24 to kMost24, in balanced digits of 8 bits,
// -128 to 127, of which the planes hold 128 more. A zero of padding is the byte 0, which stands for -128 in each plane:
// 128 times the sums of digits are taken off. With three planes on both sides the products of both lowest digits are
// left out: they lie below the rounding of either side, and as digits are balanced, zeros stay zeros.
inline constexpr std::int32_t kBalance = 128, kBalance24 = 0x808080;

constexpr bool counts(std::size_t digits, std::size_t x_plane, std::size_t digit) {
  return digits < 3 || x_plane + digit > 0;
}

// Up to so many columns no sum of all products of planes of one power leaves an int32.
inline constexpr std::size_t kWideColumns = 43690;

}  // namespace dcz
