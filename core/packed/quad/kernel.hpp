// Kernels of the form `quad`, one set of functions for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/kernels.hpp"
#include "packed/quad/quad.hpp"
#include "packed/window/kernel.hpp"

namespace dcz {

// y[v][row] = sum + bias[row] for a tile of vectors.
struct QuadTask {
  const QuadView* view;
  Arithmetic arithmetic;  // floats or x8
  std::size_t vectors;    // at most the kernel's `vectors`
  const float* x;         // vectors x columns
  const float* steps;     // what one unit of each vector stands for; of x8 alone
  std::uint8_t* prepared;
  const float* bias;  // rows, or null
  float* y;           // vectors x rows
};

// The caller's memory, aligned to 64 bytes, and threads: all blocks are prepared before a panel runs.
struct QuadKernel {
  std::size_t vectors;       // how many at once at most: 64 or fewer
  std::size_t column_bytes;  // of `prepared` for each of prepared_columns
  std::size_t row_bytes;     // of `sums`, which each thread has for each of sum_rows
  void (*prepare)(const QuadTask& task, std::size_t block);
  void (*run)(const QuadTask& task, std::size_t panel, std::uint8_t* sums);
};

extern const QuadKernel kQuadPortable, kQuadAvx512;

// Of x8; floats are the portable kernel's.
inline constexpr KernelTable<const QuadKernel> kQuadX8{.portable = &kQuadPortable, .avx512 = DCZ_IF_X86(&kQuadAvx512)};

// The rows of a panel in whole squares of 16 x 16.
inline std::size_t sum_rows(const QuadView& view) { return round_up(view.shape.panel_rows, 16); }

}  // namespace dcz
