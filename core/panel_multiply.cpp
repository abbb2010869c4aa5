// y = x W^T + bias from packed weights of the form `panel`: tiles of vectors, one after the other, each by all threads.
#include "panel_multiply.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu.hpp"
#include "panel_kernel.hpp"
#include "pool.hpp"
#include "scratch.hpp"

namespace dcz {
namespace {

// Turns times vectors below which a second thread would come too late: some 20 microseconds.
constexpr std::size_t kWorthAThread = 300'000;

const PanelKernel& panel_kernel() {
  switch (instruction_set()) {
#if defined(DCZ_X86)
    case InstructionSet::avx512:
      return kPanelAvx512;
    case InstructionSet::avx2:
      return kPanelAvx2;
#endif
#if defined(DCZ_NEON)
    case InstructionSet::neon:
      return kPanelNeon;
#endif
    default:
      return kPanelPortable;
  }
}

// Computes a tile; the vectors that are not finite, a bit each.
std::uint64_t multiply_tile(const PanelKernel& kernel, PanelTask task, unsigned threads) {
  const PanelView& view = *task.view;
  const std::size_t width = kernel.width(task.vectors), most = view.header.length * task.vectors / kWorthAThread;
  const auto parts =
      static_cast<unsigned>(std::min<std::size_t>(threads, std::max<std::size_t>(1, std::min(most, view.panels()))));
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

// As a dense layer would: what is infinite or NaN meets each weight, pruned ones too, and times zero it is NaN. The
// kernel has multiplied the weights that survive; counting those says whether all others met finite numbers.
void spoil_not_finite(const PanelKernel& kernel, const PanelTask& task, unsigned threads) {
  const std::size_t rows = task.view->header.rows, columns = task.view->header.columns;
  std::vector<float> marks(task.vectors * columns), met(task.vectors * rows);
  for (std::size_t i = 0; i < marks.size(); ++i) marks[i] = std::isfinite(task.x[i]) ? 0.0f : 1.0f;
  const std::vector<float> ones(std::size_t{1} << task.view->header.code_bits, 1.0f);
  PanelView counting = *task.view;
  counting.codebook = ones.data();
  multiply_tile(kernel, {&counting, task.vectors, marks.data(), nullptr, nullptr, met.data()}, threads);
  for (std::size_t v = 0; v < task.vectors; ++v) {
    const auto mark = marks.begin() + static_cast<std::ptrdiff_t>(v * columns);
    const auto all = static_cast<float>(std::count(mark, mark + static_cast<std::ptrdiff_t>(columns), 1.0f));
    for (std::size_t row = 0; row < rows; ++row) {
      if (met[v * rows + row] != all) task.y[v * rows + row] = std::numeric_limits<float>::quiet_NaN();
    }
  }
}

}  // namespace

void multiply_panel(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                    float* y, unsigned threads) {
  const PanelView view = panel_view(packed);
  const PanelKernel& kernel = panel_kernel();
  for (std::size_t first = 0; first < vectors; first += kernel.vectors) {
    const PanelTask task{&view,
                         std::min(kernel.vectors, vectors - first),
                         x + first * view.header.columns,
                         nullptr,
                         bias,
                         y + first * view.header.rows};
    if (multiply_tile(kernel, task, threads) != 0) spoil_not_finite(kernel, task, threads);
  }
}

}  // namespace dcz
