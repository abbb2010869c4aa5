// y = x W^T + bias from packed weights of the form `window`: the choice of arithmetic, kernels and threads.
#include <algorithm>
#include <array>
#include <span>

#include "common/pool.hpp"
#include "common/scratch.hpp"
#include "packed/not_finite.hpp"
#include "packed/window/kernel.hpp"

namespace dcz {
namespace {

// A thread that does less comes too late: it needs about 5 microseconds of work, counted in pairs of a vector of int8.
constexpr std::size_t kPairsWorthAThread = 1536;

// Such pairs that a pair of a vector takes as long as, in halves.
std::size_t half_pairs(Arithmetic arithmetic) { return arithmetic == Arithmetic::x8 ? 2 : 5; }

// So many items for each thread: whoever is late leaves some to others.
constexpr std::size_t kItems = 4;

// The arithmetic for float32 vectors that 24 bits hold.
Arithmetic arithmetic24(const WindowView& view) {
  if (view.header.grid == Grid::int8) return Arithmetic::x24w8;
  return view.planes == 4 ? Arithmetic::x24w24 : view.planes == 3 ? Arithmetic::x24w16 : Arithmetic::floats;
}

Arithmetic arithmetic_of(const WindowView& view, const Scan& scan, Activations activations) {
  const std::size_t columns = view.header.columns;
  if (!scan.finite) return Arithmetic::floats;
  if (activations == Activations::int8 && fits_integers(columns, scan.largest)) return Arithmetic::x8;
  const Arithmetic found = arithmetic24(view);
  const bool fits = found == Arithmetic::x24w24 ? columns <= kColumns24 && fits24(columns, scan, kMostOutstanding)
                                                : fits24(columns, scan);
  return fits ? found : Arithmetic::floats;
}

float step_of(Arithmetic arithmetic, float largest) {
  switch (arithmetic) {
    case Arithmetic::floats:
      return 1;
    case Arithmetic::x8:
      return step8(largest);
    default:
      return step24(largest, arithmetic == Arithmetic::x24w24 ? kMost24 : kOffset24 - 1);
  }
}

const WindowKernel& kernel_for(const WindowView& view, Arithmetic arithmetic) {
  const WindowKernel& kernel = kWindow.in_use();
  return kernel.vectors(view, arithmetic) > 0 ? kernel : kWindowPortable;
}

// The first group of item number `part` of `parts` with equal work.
std::size_t first_group(const WindowView& view, std::size_t part, std::size_t parts) {
  if (part == 0) return 0;
  if (part == parts) return view.groups();
  const auto pairs = static_cast<std::uint32_t>(view.pairs() * part / parts);
  return static_cast<std::size_t>(std::lower_bound(view.ends, view.ends + view.groups(), pairs) - view.ends);
}

void multiply_tile(WindowTask task, unsigned threads) {
  const WindowView& view = *task.view;
  const WindowKernel& kernel = kernel_for(view, task.arithmetic);
  const std::size_t work = view.pairs() * task.vectors * half_pairs(task.arithmetic) / 2 / kPairsWorthAThread;
  const auto parts =
      static_cast<unsigned>(std::min<std::size_t>(threads, std::max<std::size_t>(1, std::min(work, view.groups()))));
  task.prepared = scratch(kernel.prepared_bytes(task));
  if (parts <= 1) {
    kernel.prepare(task, 0, task.vectors);
    kernel.run(task, 0, view.groups());
    if (kernel.finish) kernel.finish(task, 0, view.header.rows);
    return;
  }
  const std::size_t items = std::min(kItems * parts, view.groups());
  auto prepare = [&](std::size_t v, unsigned) { kernel.prepare(task, v, v + 1); };
  auto run = [&](std::size_t item, unsigned) {
    const std::size_t first = first_group(view, item, items), last = first_group(view, item + 1, items);
    if (first < last) kernel.run(task, first, last);
  };
  auto finish = [&](std::size_t part, unsigned) {
    const std::size_t rows = view.header.rows;
    kernel.finish(task, rows * part / parts, rows * (part + 1) / parts);
  };
  const std::array phases{phase_of(task.vectors, prepare), phase_of(items, run), phase_of(parts, finish)};
  const bool finishes = kernel.finish && task.vectors > 1;
  run_phases(parts, std::span(phases).first(finishes ? 3 : 2), Items::equal);
}

}  // namespace

void multiply_window(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                     float* y, Activations activations, unsigned threads) {
  const WindowView view = window_view(packed);
  const std::size_t rows = view.header.rows, columns = view.header.columns;
  constexpr std::size_t kMost = 64;
  for (std::size_t first = 0; first < vectors;) {
    std::array<float, kMost> steps;
    std::size_t count = 0, most = 1;
    auto arithmetic = Arithmetic::floats;
    bool finite = true;
    for (; count < most; ++count) {
      const Scan scan = kWindow.in_use().scan(x + (first + count) * columns, columns);
      const Arithmetic next = arithmetic_of(view, scan, activations);
      if (count > 0 && next != arithmetic) break;
      arithmetic = next;
      most = std::min({kMost, kernel_for(view, arithmetic).vectors(view, arithmetic), vectors - first});
      steps[count] = step_of(arithmetic, scan.largest);
      finite &= scan.finite;
    }
    const WindowTask task{&view, arithmetic, count, x + first * columns, steps.data(), nullptr, bias, y + first * rows};
    multiply_tile(task, threads);
    first += count;
    if (finite) continue;
    spoil_not_finite(
        {task.x, count, columns, rows, task.y}, view, [&](const WindowView& counting, const float* marks, float* met) {
          const WindowTask count_task{&counting, Arithmetic::floats, count, marks, task.steps, nullptr, nullptr, met};
          multiply_tile(count_task, threads);
        });
  }
}

}  // namespace dcz
