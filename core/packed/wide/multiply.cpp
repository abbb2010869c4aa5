// y = x W^T + bias from packed weights of the form `wide`: which arithmetic, which kernel, which thread.
#include "packed/wide/multiply.hpp"

#include "common/pool.hpp"
#include "common/scratch.hpp"
#include "packed/not_finite.hpp"
#include "packed/wide/kernel.hpp"
#include "packed/window/rows.hpp"

namespace dcz {
namespace {

// Brings the arithmetic and the step into the task.
void choose(WideTask& task, const Scan& scan, Activations activations) {
  const std::size_t columns = task.view->header.columns;
  task.arithmetic = WideArithmetic::floats;
  task.step = 1;
  if (!scan.finite) return;
  if (activations == Activations::int8 && fits_integers(columns, scan.largest)) {
    task.arithmetic = WideArithmetic::x8;
    task.step = step8(scan.largest);
  } else if (const std::size_t digits = task.view->digits24().count;
             digits > 0 && (digits == 1 || columns <= kWideColumns) && fits24(columns, scan, kMostOutstanding)) {
    task.arithmetic = WideArithmetic::x24;
    task.step = step24(scan.largest, kMost24);
  }
}

void multiply_not_finite(const WideTask& task) {
  const std::size_t columns = task.view->header.columns, rows = task.view->header.rows;
  const auto run = [&](const float* x, const float* codebook, float* y) {
    WideView view = *task.view;
    view.codebook = codebook;
    WideTask plain{&view, WideArithmetic::floats, x, 1, nullptr, nullptr, y};
    plain.prepared = scratch(kWidePortable.prepared_bytes(plain));
    kWidePortable.prepare(plain);
    kWidePortable.run(plain, 0, view.groups());
  };
  run(task.x, task.view->codebook, task.y);
  const std::vector<float> ones(std::size_t{1} << task.view->header.code_bits, 1);
  spoil_not_finite({task.x, 1, columns, rows, task.y},
                   [&](const float* marks, float* met) { run(marks, ones.data(), met); });
  for (std::size_t row = 0; task.bias && row < rows; ++row) task.y[row] += task.bias[row];
}

void multiply_one(const WideKernel& kernel, WideTask& task, unsigned threads) {
  const WideView& view = *task.view;
  task.prepared = scratch(kernel.prepared_bytes(task));
  kernel.prepare(task);
  const std::size_t most = std::max<std::size_t>(1, std::min(view.pairs() / kPairsWorthAThread, view.groups()));
  const auto parts = static_cast<unsigned>(std::min<std::size_t>(threads, most));
  if (parts <= 1) return kernel.run(task, 0, view.groups());
  share_parts(parts, [&](unsigned part) {
    const std::size_t first = first_group(view, part, parts), last = first_group(view, part + 1, parts);
    if (first < last) kernel.run(task, first, last);
  });
}

}  // namespace

void multiply_wide(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                   float* y, Activations activations, unsigned threads) {
  const WideView view = wide_view(packed);
  const WideKernel& kernel = kWide.in_use();
  for (std::size_t v = 0; v < vectors; ++v, x += view.header.columns, y += view.header.rows) {
    WideTask task{&view, WideArithmetic::floats, x, 1, nullptr, bias, y};
    const Scan scan = kernel.scan(x, view.header.columns);
    choose(task, scan, activations);
    scan.finite ? multiply_one(kernel, task, threads) : multiply_not_finite(task);
  }
}

}  // namespace dcz
