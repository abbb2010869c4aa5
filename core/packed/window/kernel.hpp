// Kernels of the form `window`, one set of functions for each instruction set.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/kernels.hpp"
#include "packed/activations.hpp"
#include "packed/window/window.hpp"

namespace dcz {

// The arithmetic of a product. `floats` is float32 throughout. The others are integers with exact sums, so every kernel
// gives the same bits: x in fixed point of 8 or 24 bits, the codebook as its digits of 8, 16 or 24 bits.
//
// x24w24 serves codebooks that 24 bits may round. Both sides have three balanced digits of 8 bits, -128 to 127. The
// products of both lowest digits are left out: they are smaller than the rounding of either side. Zeros stay zeros,
// since digits are balanced.
//
// x24w24_short leaves out those of the power 256 as well, a quarter of the work. They are as large as the rounding of
// float32 sums where neither side's largest number stands out.
enum class Arithmetic : std::uint8_t { floats, x8, x24w8, x24w16, x24w24, x24w24_short };

// The lowest power of 256 whose products count.
inline unsigned first_power(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::x24w24_short ? 2 : arithmetic == Arithmetic::x24w24 ? 1 : 0;
}

// The planes of digits of an arithmetic, and their scale.
struct DigitRange {
  std::size_t first, count;
  float scale;
};

inline DigitRange digits_of(const WindowView& view, Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::x24w16:
      return {1, 2, view.header.scale16};
    case Arithmetic::x24w24:
    case Arithmetic::x24w24_short:
      return {1, 3, view.header.scale16};
    default:
      return {0, 1, view.header.scale8};
  }
}

// x24w24 adds this to x: 128 to each balanced digit, which makes unsigned bytes.
inline constexpr std::int32_t kBalance24 = 0x808080;

// In x24w24 an int32 holds the sum of all products of one power for so many columns.
inline constexpr std::size_t kColumns24 = 43690;

// y[row] = sum + bias[row] for the rows of the groups first to last - 1. `steps[v]` is the unit of vector v in fixed
// point.
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
  // The most vectors at once; 0 leaves them to the portable kernel.
  std::size_t (*vectors)(const WindowView& view, Arithmetic arithmetic);
  Scan (*scan)(const float* x, std::size_t columns);
  // The bytes of prepared vectors. Memory and threads are the caller's.
  std::size_t (*prepared_bytes)(const WindowTask& task);
  void (*prepare)(const WindowTask& task, std::size_t first_vector, std::size_t last_vector);
  void (*run)(const WindowTask& task, std::size_t first_group, std::size_t last_group);
  // After all groups: writes the rows of y that they left out. May be null.
  void (*finish)(const WindowTask& task, std::size_t first_row, std::size_t last_row);
};

// Calls run(code bits, layout), both constants, if the layout is one of kLayouts. digits24 has the slots of by_row.
template <WindowLayout... kLayouts, typename Run>
void by_layout(const WindowView& view, const Run& run) {
  const WindowLayout layout = view.layout() == WindowLayout::digits24 ? WindowLayout::by_row : view.layout();
  by_code_bits(view.header, [&](auto code_bits) {
    ((layout == kLayouts ? run(code_bits, std::integral_constant<WindowLayout, kLayouts>{}) : void()), ...);
  });
}

// put(lane, row, its bias) for each row of a group.
template <typename Put>
void each_row(const WindowTask& task, std::size_t group, const Put& put) {
  const WindowView& view = *task.view;
  for (std::size_t lane = 0; lane < view.group_rows; ++lane) {
    const std::uint32_t row = view.order[group * view.group_rows + lane];
    if (row < view.header.rows) put(lane, row, task.bias ? task.bias[row] : 0.0f);
  }
}

extern const WindowKernel kWindowPortable, kWindowAvx2, kWindowAvx512, kWindowNeon;

inline constexpr KernelTable<const WindowKernel> kWindow{.portable = &kWindowPortable,
                                                         .avx2 = DCZ_IF_X86(&kWindowAvx2),
                                                         .avx512 = DCZ_IF_X86(&kWindowAvx512),
                                                         .neon = DCZ_IF_NEON(&kWindowNeon)};

}  // namespace dcz
