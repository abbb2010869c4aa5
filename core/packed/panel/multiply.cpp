// y = x W^T + bias from packed weights of the form `panel`: tiles of vectors, one after the other, each by all threads.
#include <algorithm>
#include <atomic>
#include <vector>

#include "common/pool.hpp"
#include "common/scratch.hpp"
#include "packed/not_finite.hpp"
#include "packed/panel/kernel.hpp"

namespace dcz {
namespace {

// Turns times vectors below which a second thread would come too late: some 20 microseconds.
constexpr std::size_t kWorthAThread = 300'000;

// Computes a tile; the vectors that are not finite, a bit each.
std::uint64_t multiply_tile(const PanelKernel& kernel, PanelTask task, unsigned threads) {
  const PanelView& view = *task.view;
  const std::size_t width = kernel.width(task.vectors);
  const unsigned parts = view.parts_for(view.header.length * task.vectors, kWorthAThread, threads);
  const std::size_t prepared = round_up(view.prepared_columns() * width, 16), sums = sum_rows(view) * width;
  task.prepared = reinterpret_cast<float*>(scratch((prepared + parts * sums) * sizeof(float)));
  std::atomic<std::uint64_t> not_finite{0};
  share_items(parts, view.blocks, [&](std::size_t block, unsigned) {
    const std::uint64_t found = kernel.prepare(task, block, block + 1);
    if (found != 0) not_finite |= found;
  });
  share_items(parts, view.panels(), [&](std::size_t panel, unsigned part) {
    kernel.run(task, panel, panel + 1, task.prepared + prepared + part * sums);
  });
  return not_finite;
}

void spoil(const PanelKernel& kernel, const PanelTask& task, unsigned threads) {
  const PackedHeader& header = task.view->header;
  const std::vector<float> ones(std::size_t{1} << header.code_bits, 1.0f);
  PanelView counting = *task.view;
  counting.codebook = ones.data();
  spoil_not_finite({task.x, task.vectors, header.columns, header.rows, task.y}, [&](const float* marks, float* met) {
    multiply_tile(kernel, {&counting, task.vectors, marks, nullptr, nullptr, met}, threads);
  });
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
    if (multiply_tile(kernel, task, threads) != 0) spoil(kernel, task, threads);
  }
}

}  // namespace dcz
