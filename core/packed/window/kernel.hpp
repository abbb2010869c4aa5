// Kernels of the form `window`, one set of functions for each instruction set.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/kernels.hpp"
#include "packed/activations.hpp"
#include "packed/window/window.hpp"

namespace dcz {

// How a vector is multiplied. `floats`: float32 all through. The others in integers, whose sums are exact, so that
// every kernel gives the same bits: x as fixed point of 8 or 24 bits, the codebook as its digits of 8, 16 or 24 bits.
//
// x24w24 is for codebooks that 24 bits may round. Both sides are in balanced digits of 8 bits, -128 to 127, three each,
// and the products of both lowest digits are left out: they lie below the rounding of either side, and as digits are
// balanced, zeros stay zeros.
enum class Arithmetic : std::uint8_t { floats, x8, x24w8, x24w16, x24w24 };

// The planes of digits that an arithmetic multiplies by, and their scale.
struct DigitRange {
  std::size_t first, count;
  float scale;
};

inline DigitRange digits_of(const WindowView& view, Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::x24w16:
      return {1, 2, view.header.scale16};
    case Arithmetic::x24w24:
      return {1, 3, view.header.scale16};
    default:
      return {0, 1, view.header.scale8};
  }
}

// x24w24 adds this to x, 128 to each of its balanced digits, so that they are unsigned bytes.
inline constexpr std::int32_t kBalance24 = 0x808080;

// Up to so many columns no sum of all products of digits of one power in x24w24 leaves an int32.
inline constexpr std::size_t kColumns24 = 43690;

// y[row] = sum + bias[row] for the rows of the groups first to last - 1. `steps[v]` is what one unit of the fixed-point
// form of vector v stands for.
struct WindowTask {
  const WindowView* view;
  Arithmetic arithmetic;
  std::size_t vectors;  // at most the kernel's
  const float* x;       // vectors x columns
  const float* steps;
  std::uint8_t* prepared;  // aligned to 64 bytes
  const float* bias;       // rows, or null
  float* y;                // vectors x rows
};

struct WindowKernel {
  // How many at once at most; 0 where the portable kernel has to do it.
  std::size_t (*vectors)(const WindowView& view, Arithmetic arithmetic);
  Scan (*scan)(const float* x, std::size_t columns);
  // Bytes of the form that vectors are brought into: its memory, and threads, are the caller's.
  std::size_t (*prepared_bytes)(const WindowTask& task);
  void (*prepare)(const WindowTask& task, std::size_t first_vector, std::size_t last_vector);
  void (*run)(const WindowTask& task, std::size_t first_group, std::size_t last_group);
  // Once all groups are done: what they left of y to be written, by rows. May be null.
  void (*finish)(const WindowTask& task, std::size_t first_row, std::size_t last_row);
};

extern const WindowKernel kWindowPortable, kWindowAvx2, kWindowAvx512, kWindowNeon;

inline constexpr KernelTable<const WindowKernel> kWindow{.portable = &kWindowPortable,
                                                         .avx2 = DCZ_IF_X86(&kWindowAvx2),
                                                         .avx512 = DCZ_IF_X86(&kWindowAvx512),
                                                         .neon = DCZ_IF_NEON(&kWindowNeon)};

}  // namespace dcz
