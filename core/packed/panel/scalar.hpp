// The form `panel` in portable C++, a tile of 16 vectors, without the multiplication of a quartet. Each file that is
// compiled for an instruction set of its own includes this once.
#pragma once

#include <cmath>

#include "packed/panel/walk.hpp"

namespace dcz {
namespace {

constexpr std::size_t kWidth = 16;

inline std::size_t width(std::size_t) { return kWidth; }

inline std::uint64_t prepare(const PanelTask& task, std::size_t number) {
  const std::size_t columns = task.view->header.columns;
  const Block<float> block = block_at(*task.view, number, task.prepared, kWidth);
  std::uint64_t not_finite = 0;
  for (std::size_t column = 0; column <= task.view->shape.block_columns; ++column) {
    float* const out = block.prepared + column * kWidth;
    for (std::size_t v = 0; v < kWidth; ++v) {
      const bool there = column < block.count && v < task.vectors;
      out[v] = there ? task.x[v * columns + block.begin + column] : 0.0f;
      not_finite |= std::uint64_t{!std::isfinite(out[v])} << v;
    }
  }
  return not_finite;
}

inline void finish(const PanelTask& task, std::size_t panel, const float* sums) {
  const std::size_t rows = task.view->header.rows;
  const auto [first, count] = rows_of(*task.view, panel);
  for (std::size_t v = 0; v < task.vectors; ++v) {
    for (std::size_t row = 0; row < count; ++row) {
      task.y[v * rows + first + row] = sums[row * kWidth + v] + (task.bias ? task.bias[first + row] : 0.0f);
    }
  }
}

// Kernel::multiply(quartet, x, centroids) adds a quartet to the sums of its rows.
template <typename Kernel>
void run(const PanelTask& task, std::size_t panel, float* sums) {
  const Centroids centroids(*task.view);
  sum_panel(task, panel, kWidth, sums,
            [&](const Quartet& quartet, const float* x) { Kernel::multiply(quartet, x, centroids.table); });
  finish(task, panel, sums);
}

}  // namespace
}  // namespace dcz
