// y = x W^T + bias from packed weights of the form `quad`: the choice of arithmetic, kernels and threads.
#include <algorithm>
#include <array>

#include "common/pool.hpp"
#include "common/scratch.hpp"
#include "packed/not_finite.hpp"
#include "packed/quad/kernel.hpp"

namespace dcz {
namespace {

// With fewer fours times vectors, some 20 microseconds, a second thread would come too late.
constexpr std::size_t kWorthAThread = 600'000;

constexpr std::size_t kMostVectors = 64;

unsigned parts_for(const QuadView& view, std::size_t vectors, unsigned threads) {
  return view.parts_for(view.header.length * vectors, kWorthAThread, threads);
}

// Multiplies the vectors that a kernel takes at once.
void multiply_tile(const QuadKernel& kernel, QuadTask task, unsigned threads) {
  const QuadView& view = *task.view;
  const unsigned parts = parts_for(view, task.vectors, threads);
  const std::size_t prepared = round_up(view.prepared_columns() * kernel.column_bytes, 64);
  const std::size_t sums = sum_rows(view) * kernel.row_bytes;
  task.prepared = scratch(prepared + parts * sums);
  auto prepare = [&](std::size_t block, unsigned) { kernel.prepare(task, block); };
  auto run = [&](std::size_t panel, unsigned thread) {
    kernel.run(task, panel, task.prepared + prepared + thread * sums);
  };
  run_phases(parts, std::array{phase_of(view.blocks, prepare), phase_of(view.panels(), run)}, Items::equal);
}

// The vectors from `first` to `last` - 1 of a task, in one arithmetic.
void multiply_tiles(const QuadTask& task, std::size_t first, std::size_t last, unsigned threads) {
  const QuadKernel& kernel = task.arithmetic == Arithmetic::x8 ? kQuadX8.in_use() : kQuadPortable;
  for (; first < last; first += kernel.vectors) {
    QuadTask tile = task;
    tile.vectors = std::min(kernel.vectors, last - first);
    tile.x += first * task.view->header.columns;
    if (task.steps) tile.steps += first;
    tile.y += first * task.view->header.rows;
    multiply_tile(kernel, tile, threads);
  }
}

// In float32, and as a dense layer would.
void multiply_floats(QuadTask task, std::size_t first, std::size_t last, bool finite, unsigned threads) {
  task.arithmetic = Arithmetic::floats;
  multiply_tiles(task, first, last, threads);
  if (finite) return;
  const PackedHeader& header = task.view->header;
  const Product product{task.x + first * header.columns, last - first, header.columns, header.rows,
                        task.y + first * header.rows};
  spoil_not_finite(product, *task.view, [&](const QuadView& counting, const float* marks, float* met) {
    const QuadTask count{&counting, Arithmetic::floats, last - first, marks, nullptr, nullptr, nullptr, met};
    multiply_tiles(count, 0, last - first, threads);
  });
}

}  // namespace

void multiply_quad(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                   float* y, Activations activations, unsigned threads) {
  const QuadView view = quad_view(packed);
  const std::size_t columns = view.header.columns, rows = view.header.rows;
  if (rows == 0) return;
  std::array<Scan, kMostVectors> scans;
  std::array<float, kMostVectors> steps;
  for (std::size_t begin = 0; begin < vectors; begin += kMostVectors) {
    const std::size_t count = std::min(kMostVectors, vectors - begin);
    const QuadTask task{&view,        Arithmetic::x8, count, x + begin * columns,
                        steps.data(), nullptr,        bias,  y + begin * rows};
    share_items(parts_for(view, count, threads), count, [&](std::size_t v, unsigned) {
      scans[v] = kWindow.in_use().scan(task.x + v * columns, columns);
      steps[v] = step8(scans[v].largest);
    });
    const auto integers = [&](std::size_t v) {
      return activations == Activations::int8 && scans[v].finite && fits_integers(columns, scans[v].largest);
    };
    for (std::size_t first = 0, last = 0; first < count; first = last) {
      const bool whole = integers(first), finite = scans[first].finite;
      while (last < count && integers(last) == whole && scans[last].finite == finite) ++last;
      if (whole) {
        multiply_tiles(task, first, last, threads);
      } else {
        multiply_floats(task, first, last, finite, threads);
      }
    }
  }
}

}  // namespace dcz
