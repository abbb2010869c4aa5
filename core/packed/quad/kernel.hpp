// Kernels of the form `quad`, one set of functions for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/kernels.hpp"
#include "packed/quad/quad.hpp"
#include "packed/segments/walk.hpp"
#include "packed/window/kernel.hpp"

namespace dcz {

// y[v][row] = sum + bias[row] for a tile of vectors.
struct QuadTask {
  const QuadView* view;
  Arithmetic arithmetic;  // floats or x8
  std::size_t vectors;    // at most the kernel's `vectors`
  const float* x;         // vectors x columns
  const float* steps;     // of each vector's fixed-point form; for x8 alone
  std::uint8_t* prepared;
  const float* bias;  // rows, or null
  float* y;           // vectors x rows
};

// Memory, aligned to 64 bytes, and threads are the caller's. All blocks are prepared before a panel runs.
struct QuadKernel {
  std::size_t vectors;       // at most 64 at once
  std::size_t column_bytes;  // of `prepared` for each of prepared_columns
  std::size_t row_bytes;     // of `sums`, which each thread has for each of sum_rows
  void (*prepare)(const QuadTask& task, std::size_t block);
  void (*run)(const QuadTask& task, std::size_t panel, std::uint8_t* sums);
};

extern const QuadKernel kQuadPortable, kQuadAvx512;

// For x8. The portable kernel computes floats.
inline constexpr KernelTable<const QuadKernel> kQuadX8{.portable = &kQuadPortable, .avx512 = DCZ_IF_X86(&kQuadAvx512)};

// The rows of a panel in whole squares of 16 x 16.
inline std::size_t sum_rows(const QuadView& view) { return round_up(view.shape.panel_rows, 16); }

namespace {

// The survivors of a row in a block.
struct Run {
  const std::uint16_t* entries;
  std::size_t fours, row;
};

inline Run run_of(const QuadView& view, const Group& group) {
  return {view.entries + kFour * group.first_turn, at_most(group.turns, kMostFours),
          at_most(group.rows[0], view.shape.panel_rows - std::size_t{1})};
}

}  // namespace

}  // namespace dcz
