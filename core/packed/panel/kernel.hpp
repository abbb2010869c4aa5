// Kernels of the form `panel`, one set of functions for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/kernels.hpp"
#include "packed/panel/panel.hpp"

namespace dcz {

// y[v][row] = sum + bias[row] for a tile of vectors.
struct PanelTask {
  const PanelView* view;
  std::size_t vectors;  // at most the kernel's `vectors`
  const float* x;       // vectors x columns
  float* prepared;      // prepared_columns x width, aligned to 64 bytes
  const float* bias;    // rows, or null
  float* y;             // vectors x rows
};

// Memory and threads are the caller's. All blocks are prepared before a panel runs.
struct PanelKernel {
  std::size_t vectors;  // at most 64 at once
  // The floats of a prepared column of so many vectors: whole registers.
  std::size_t (*width)(std::size_t vectors);
  // Brings a block of x into columns. Bit v of the result: vector v has an infinity or NaN there.
  std::uint64_t (*prepare)(const PanelTask& task, std::size_t block);
  // `sums` belongs to the thread: sum_rows x width, aligned to 64 bytes.
  void (*run)(const PanelTask& task, std::size_t panel, float* sums);
};

extern const PanelKernel kPanelPortable, kPanelAvx2, kPanelAvx512, kPanelNeon;

inline constexpr KernelTable<const PanelKernel> kPanel{.portable = &kPanelPortable,
                                                       .avx2 = DCZ_IF_X86(&kPanelAvx2),
                                                       .avx512 = DCZ_IF_X86(&kPanelAvx512),
                                                       .neon = DCZ_IF_NEON(&kPanelNeon)};

// The rows of a panel, and the one that quartets name for rows they lack, in whole squares of 16 x 16.
inline std::size_t sum_rows(const PanelView& view) { return round_up(view.shape.panel_rows + std::size_t{1}, 16); }

}  // namespace dcz
