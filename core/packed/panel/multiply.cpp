// y = x W^T + bias from packed weights of the form `panel`: tile by tile of vectors, each by all threads.
#include <algorithm>
#include <array>
#include <atomic>

#include "common/pool.hpp"
#include "common/scratch.hpp"
#include "packed/not_finite.hpp"
#include "packed/panel/kernel.hpp"

namespace dcz {
namespace {

// With less work, some 20 microseconds, a second thread would come too late. A turn costs as much as the floats of its
// columns, and these many more.
constexpr std::size_t kWorthAThread = 300'000, kTurn = 8;

// Computes a tile. A bit for each vector of the result: it is not finite.
std::uint64_t multiply_tile(const PanelKernel& kernel, PanelTask task, unsigned threads) {
  const PanelView& view = *task.view;
  const std::size_t width = kernel.width(task.vectors);
  const unsigned parts = view.parts_for(view.header.length * (width + kTurn), kWorthAThread, threads);
  const std::size_t prepared = round_up(view.prepared_columns() * width, 16), sums = sum_rows(view) * width;
  task.prepared = reinterpret_cast<float*>(scratch((prepared + parts * sums) * sizeof(float)));
  std::atomic<std::uint64_t> not_finite{0};
  auto prepare = [&](std::size_t block, unsigned) {
    const std::uint64_t found = kernel.prepare(task, block);
    if (found != 0) not_finite |= found;
  };
  auto run = [&](std::size_t panel, unsigned thread) {
    kernel.run(task, panel, task.prepared + prepared + thread * sums);
  };
  run_phases(parts, std::array{phase_of(view.blocks, prepare), phase_of(view.panels(), run)}, Items::equal);
  return not_finite;
}

}  // namespace

void multiply_panel(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                    float* y, unsigned threads) {
  const PanelView view = panel_view(packed);
  const PanelKernel& kernel = kPanel.in_use();
  for (std::size_t first = 0; first < vectors; first += kernel.vectors) {
    const PanelTask task{&view,
                         std::min(kernel.vectors, vectors - first),
                         x + first * view.header.columns,
                         nullptr,
                         bias,
                         y + first * view.header.rows};
    if (multiply_tile(kernel, task, threads) == 0) continue;
    spoil_not_finite({task.x, task.vectors, view.header.columns, view.header.rows, task.y}, view,
                     [&](const PanelView& counting, const float* marks, float* met) {
                       multiply_tile(kernel, {&counting, task.vectors, marks, nullptr, nullptr, met}, threads);
                     });
  }
}

}  // namespace dcz
