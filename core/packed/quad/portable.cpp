// The form `quad` in portable C++, a tile of 16 vectors. AVX-512 alone has a kernel of its own, for integers.
//
// Integers are multiplied in float32 too: those of a run add up exactly (see kMostQuadColumns), then to a sum of
// integers.
#include <cstring>

#include "packed/quad/kernel.hpp"

namespace dcz {
namespace {

constexpr std::size_t kWidth = 16;

// To the nearest integer: floats of this magnitude have no digits behind the point.
inline float rounded(float x) {
  constexpr float kNoDigits = 0x1.8p23f;
  return (x + kNoDigits) - kNoDigits;
}

void prepare(const QuadTask& task, std::size_t number) {
  const std::size_t columns = task.view->header.columns, block_columns = task.view->shape.block_columns;
  const Block<float> block = block_at(*task.view, number, reinterpret_cast<float*>(task.prepared), kWidth);
  float* const prepared = block.prepared;
  std::memset(prepared, 0, (block_columns + 1) * kWidth * sizeof(float));
  for (std::size_t v = 0; v < task.vectors; ++v) {
    const float* const x = task.x + v * columns + block.begin;
    if (task.arithmetic == Arithmetic::floats) {
      for (std::size_t i = 0; i < block.count; ++i) prepared[i * kWidth + v] = x[i];
    } else {
      const float per_step = 1 / task.steps[v];
      for (std::size_t i = 0; i < block.count; ++i) prepared[i * kWidth + v] = rounded(x[i] * per_step);
    }
  }
}

// Centroids or digits, as many as an entry can name.
struct Weights {
  alignas(64) float table[256];

  explicit Weights(const QuadTask& task) {
    const QuadView& view = *task.view;
    const std::size_t count = std::size_t{1} << view.header.code_bits;
    for (std::size_t i = 0; i < 256; ++i) {
      table[i] = i >= count                              ? 0.0f
                 : task.arithmetic == Arithmetic::floats ? view.codebook[i]
                                                         : static_cast<float>(view.digits[i]);
    }
  }
};

inline void add(float& sum, float found) { sum += found; }

inline void add(std::uint32_t& sum, float found) {
  sum += static_cast<std::uint32_t>(static_cast<std::int32_t>(found));  // sums of spoilt bytes wrap
}

template <typename Sum>
inline void multiply_run(const QuadView& view, const Run& run, const float* x, const float* weights, Sum* sums) {
  float found[kWidth] = {};
  const unsigned code_bits = view.header.code_bits, code = (1u << code_bits) - 1;
  for (std::size_t i = 0; i < kFour * run.fours; ++i) {
    const unsigned entry = run.entries[i];
    const float weight = weights[entry & code];
    const float* const column = x + at_most(entry >> code_bits, view.shape.block_columns) * kWidth;
    for (std::size_t v = 0; v < kWidth; ++v) found[v] += weight * column[v];
  }
  for (std::size_t v = 0; v < kWidth; ++v) add(sums[v], found[v]);
}

inline float finish(const QuadTask&, std::size_t, float sum, float bias) { return sum + bias; }

inline float finish(const QuadTask& task, std::size_t vector, std::uint32_t sum, float bias) {
  return finish_integer(static_cast<std::int32_t>(sum), task.steps[vector], task.view->header.scale8, bias);
}

template <typename Sum>
void run_panel(const QuadTask& task, std::size_t panel, Sum* sums) {
  const QuadView& view = *task.view;
  const Weights weights(task);
  std::memset(sums, 0, sum_rows(view) * kWidth * sizeof(Sum));
  each_group<1>(view, panel, [&](std::size_t block, const Group& group) {
    const Run run = run_of(view, group);
    const auto* const x = block_at(view, block, reinterpret_cast<const float*>(task.prepared), kWidth).prepared;
    multiply_run(view, run, x, weights.table, sums + run.row * kWidth);
  });
  const PanelRows rows = rows_of(view, panel);
  for (std::size_t v = 0; v < task.vectors; ++v) {
    for (std::size_t row = 0; row < rows.count; ++row) {
      const float bias = task.bias ? task.bias[rows.first + row] : 0.0f;
      task.y[v * view.header.rows + rows.first + row] = finish(task, v, sums[row * kWidth + v], bias);
    }
  }
}

void run(const QuadTask& task, std::size_t panel, std::uint8_t* sums) {
  if (task.arithmetic == Arithmetic::floats) {
    run_panel(task, panel, reinterpret_cast<float*>(sums));
  } else {
    run_panel(task, panel, reinterpret_cast<std::uint32_t*>(sums));
  }
}

}  // namespace

constinit const QuadKernel kQuadPortable{kWidth, kWidth * sizeof(float), kWidth * sizeof(float), prepare, run};

}  // namespace dcz
