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
// every kernel gives the same bits: x as fixed point of 8 or 24 bits, the codebook as its int8 or int16 digits.
enum class Arithmetic : std::uint8_t { floats, x8, x24w8, x24w16 };
inline constexpr std::size_t kArithmetics = 4;

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
  std::array<std::size_t, kArithmetics> vectors;  // by arithmetic, how many at once at most
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

// Pairs times vectors below which a second thread would come too late.
inline constexpr std::size_t kPairsWorthAThread = 2048;

}  // namespace dcz
