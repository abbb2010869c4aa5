// y = x W^T + bias from packed weights of the form `window`: the choice of arithmetic, kernels and threads.
#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <vector>

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

// Whether products of the power 256 may be left out of x24w24: the errors grow with both sides' largest numbers against
// the others. The centroid nearest to zero stands for the other weights.
bool fits_short(const WindowView& view, const Scan& scan) {
  constexpr double kMost = 20;
  double least = kMost24 * static_cast<double>(view.header.scale16);
  const double range = least * static_cast<double>(scan.largest);
  for (std::size_t i = 0; i < view.header.centroids; ++i) {
    least = std::min(least, std::fabs(static_cast<double>(view.codebook[i])));
  }
  const double mean = static_cast<double>(scan.squares) / static_cast<double>(view.header.columns);
  return range * range <= kMost * kMost * least * least * mean;
}

Arithmetic arithmetic_of(const WindowView& view, const Scan& scan, Activations activations) {
  const std::size_t columns = view.header.columns;
  if (!scan.finite) return Arithmetic::floats;
  if (activations == Activations::int8 && fits_integers(columns, scan.largest)) return Arithmetic::x8;
  const Arithmetic found = arithmetic24(view);
  const bool fits = found == Arithmetic::x24w24 ? columns <= kColumns24 && fits24(columns, scan, kMostOutstanding)
                                                : fits24(columns, scan);
  if (!fits) return Arithmetic::floats;
  return found == Arithmetic::x24w24 && fits_short(view, scan) ? Arithmetic::x24w24_short : found;
}

float step_of(Arithmetic arithmetic, float largest) {
  switch (arithmetic) {
    case Arithmetic::floats:
      return 1;
    case Arithmetic::x8:
      return step8(largest);
    default:
      return step24(largest, first_power(arithmetic) > 0 ? kMost24 : kOffset24 - 1);
  }
}

const WindowKernel& kernel_for(const WindowView& view, Arithmetic arithmetic) {
  const WindowKernel& kernel = kWindow.in_use();
  return kernel.vectors(view, arithmetic) > 0 ? kernel : kWindowPortable;
}

// Who does what: `items`, about equal, for so many threads.
struct Split {
  unsigned threads;
  std::size_t items;
};

Split split_of(const WindowView& view, Arithmetic arithmetic, std::size_t vectors, unsigned threads) {
  const std::size_t work = view.pairs() * vectors * half_pairs(arithmetic) / 2 / kPairsWorthAThread;
  const std::size_t most = std::max<std::size_t>(1, std::min(work, view.groups()));
  const auto parts = static_cast<unsigned>(std::min<std::size_t>(threads, most));
  return {parts, std::min(kItems * parts, view.groups())};
}

// The first group of item number `item` of `items` with equal work.
std::size_t first_group(const WindowView& view, std::size_t item, std::size_t items) {
  if (item == 0) return 0;
  if (item == items) return view.groups();
  const auto pairs = static_cast<std::uint32_t>(view.pairs() * item / items);
  const auto group =
      static_cast<std::size_t>(std::lower_bound(view.ends, view.ends + view.groups(), pairs) - view.ends);
  if (group == view.groups()) return group;
  // of the ends of this group and of the one before, the nearer one
  return view.last_pair(group) - pairs < pairs - view.first_pair(group) ? group + 1 : group;
}

void multiply_tile(WindowTask task, unsigned threads) {
  const WindowView& view = *task.view;
  const WindowKernel& kernel = kernel_for(view, task.arithmetic);
  const auto [parts, items] = split_of(view, task.arithmetic, task.vectors, threads);
  task.prepared = scratch(kernel.prepared_bytes(task));
  if (parts <= 1) {
    kernel.prepare(task, 0, task.vectors);
    kernel.run(task, 0, view.groups());
    if (kernel.finish) kernel.finish(task, 0, view.header.rows);
    return;
  }
  auto prepare = [&](std::size_t v, unsigned) { kernel.prepare(task, v, v + 1); };
  auto run = [&, count = items](std::size_t item, unsigned) {
    const std::size_t first = first_group(view, item, count), last = first_group(view, item + 1, count);
    if (first < last) kernel.run(task, first, last);
  };
  auto finish = [&, count = parts](std::size_t part, unsigned) {
    const std::size_t rows = view.header.rows;
    kernel.finish(task, rows * part / count, rows * (part + 1) / count);
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

std::vector<std::uint64_t> pairs_of_threads(std::span<const std::uint8_t> packed, std::size_t vectors,
                                            Activations activations, unsigned threads) {
  const WindowView view = window_view(packed);
  const Arithmetic arithmetic = activations == Activations::int8 ? Arithmetic::x8 : arithmetic24(view);
  const std::size_t together = std::max<std::size_t>(kernel_for(view, arithmetic).vectors(view, arithmetic), 1);
  const Split split = split_of(view, arithmetic, std::min(vectors, together), threads);
  std::vector<std::uint64_t> pairs;
  for (unsigned thread = 0; thread < split.threads; ++thread) {
    const std::size_t first = first_group(view, first_item(split.items, thread, split.threads), split.items);
    const std::size_t last = first_group(view, first_item(split.items, thread + 1, split.threads), split.items);
    pairs.push_back(first < last ? view.last_pair(last - 1) - view.first_pair(first) : 0);
  }
  return pairs;
}

}  // namespace dcz
