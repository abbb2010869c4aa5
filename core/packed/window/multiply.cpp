// y = x W^T + bias from packed weights of the form `window`: which arithmetic, which kernel, which thread.
#include "packed/window/multiply.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "common/pool.hpp"
#include "common/scratch.hpp"
#include "packed/window/kernel.hpp"
#include "packed/window/rows.hpp"

namespace dcz {

namespace {

struct Vector {
  Arithmetic arithmetic;
  float step;
  bool finite;
};

Vector arithmetic_of(const WindowView& view, const Scan& scan, Activations activations) {
  const std::size_t columns = view.header.columns;
  if (!scan.finite) return {Arithmetic::floats, 1, false};
  if (activations == Activations::int8 && fits_integers(columns, scan.largest)) {
    return {Arithmetic::x8, step8(scan.largest), true};
  }
  if (view.header.grid != Grid::none && fits24(columns, scan)) {
    const auto arithmetic = view.header.grid == Grid::int8 ? Arithmetic::x24w8 : Arithmetic::x24w16;
    return {arithmetic, step24(scan.largest, kOffset24 - 1), true};
  }
  return {Arithmetic::floats, 1, true};
}

// As a dense layer would: what is infinite or NaN meets each weight, pruned ones too, and times zero it is NaN.
void multiply_not_finite(const WindowView& view, const float* x, const float* bias, float* y) {
  const std::size_t columns = view.header.columns, rows = view.header.rows;
  std::vector<float> marks(columns), sums(rows), met(rows);
  float all = 0;
  for (std::size_t i = 0; i < columns; ++i) all += marks[i] = std::isfinite(x[i]) ? 0.0f : 1.0f;
  const auto run = [&](const float* vector, const float* weights, float* out) {
    WindowView changed = view;
    changed.codebook = weights;
    const float step = 1;
    WindowTask task{&changed, Arithmetic::floats, 1, vector, &step, nullptr, nullptr, out};
    task.prepared = scratch(kWindowPortable.prepared_bytes(task));
    kWindowPortable.prepare(task, 0, 1);
    kWindowPortable.run(task, 0, view.groups());
  };
  const std::vector<float> ones(std::size_t{1} << view.header.code_bits, 1);
  run(x, view.codebook, sums.data());
  run(marks.data(), ones.data(), met.data());
  for (std::size_t row = 0; row < rows; ++row) {
    y[row] = met[row] == all ? sums[row] + (bias ? bias[row] : 0) : std::numeric_limits<float>::quiet_NaN();
  }
}

void multiply_tile(const WindowKernel& kernel, WindowTask& task, unsigned threads) {
  const WindowView& view = *task.view;
  const std::size_t work = view.pairs() * task.vectors / kPairsWorthAThread;
  const auto parts =
      static_cast<unsigned>(std::min<std::size_t>(threads, std::max<std::size_t>(1, std::min(work, view.groups()))));
  task.prepared = scratch(kernel.prepared_bytes(task));
  if (parts <= 1) {
    kernel.prepare(task, 0, task.vectors);
    kernel.run(task, 0, view.groups());
    if (kernel.finish) kernel.finish(task, 0, view.header.rows);
    return;
  }
  share_parts(static_cast<unsigned>(std::min<std::size_t>(parts, task.vectors)), [&](unsigned part) {
    const std::size_t helpers = std::min<std::size_t>(parts, task.vectors);
    kernel.prepare(task, task.vectors * part / helpers, task.vectors * (part + 1) / helpers);
  });
  share_parts(parts, [&](unsigned part) {
    const std::size_t first = first_group(view, part, parts), last = first_group(view, part + 1, parts);
    if (first < last) kernel.run(task, first, last);
  });
  if (kernel.finish && task.vectors > 1) {
    share_parts(parts, [&](unsigned part) {
      const std::size_t rows = view.header.rows;
      kernel.finish(task, rows * part / parts, rows * (part + 1) / parts);
    });
  }
}

}  // namespace

void multiply_window(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                     float* y, Activations activations, unsigned threads) {
  const WindowView view = window_view(packed);
  const WindowKernel& kernel = kWindow.in_use();
  const std::size_t rows = view.header.rows, columns = view.header.columns;
  constexpr std::size_t kMost = 64;
  for (std::size_t first = 0; first < vectors;) {
    std::array<float, kMost> steps;
    std::size_t count = 0, most = 1;
    Vector kind{};
    for (; count < most; ++count) {
      const float* const vector = x + (first + count) * columns;
      const Vector next = arithmetic_of(view, kernel.scan(vector, columns), activations);
      if (count > 0 && (next.finite != kind.finite || next.arithmetic != kind.arithmetic)) break;
      kind = next;
      most = std::min({kMost, kernel.vectors[static_cast<std::size_t>(kind.arithmetic)], vectors - first});
      steps[count] = next.step;
      if (!kind.finite) multiply_not_finite(view, vector, bias, y + (first + count) * rows);
    }
    if (kind.finite) {
      WindowTask task{&view,        kind.arithmetic, count, x + first * columns,
                      steps.data(), nullptr,         bias,  y + first * rows};
      multiply_tile(kernel, task, threads);
    }
    first += count;
  }
}

}  // namespace dcz
