// The form `panel` with registers of 8 or 16 vectors: a tile has up to four of them. Each file that is compiled for an
// instruction set of its own includes this once.
//
// A `Simd` has the type `Floats` of kLanes numbers and the functions that this file calls.
#pragma once

#include "packed/panel/walk.hpp"

namespace dcz {
namespace {

template <typename Simd>
std::size_t width(std::size_t vectors) {
  return (vectors + Simd::kLanes - 1) / Simd::kLanes * Simd::kLanes;
}

template <typename Simd>
std::uint64_t prepare(const PanelTask& task, std::size_t number) {
  constexpr std::size_t kLanes = Simd::kLanes;
  using Floats = typename Simd::Floats;
  const std::size_t wide = width<Simd>(task.vectors), columns = task.view->header.columns;
  const Block<float> block = block_at(*task.view, number, task.prepared, wide);
  std::uint64_t not_finite = 0;
  for (std::size_t vector = 0; vector < wide; vector += kLanes) {
    const float* const x = task.x + vector * columns + block.begin;
    const std::size_t vectors = at_most(task.vectors - vector, kLanes);
    float* const out = block.prepared + vector;
    Floats poison[2] = {};  // 0, or NaN for vectors with an infinity or NaN
    for (std::size_t column = 0; column < block.count; column += kLanes) {
      const std::size_t here = at_most(block.count - column, kLanes);
      const auto lanes = Simd::first_lanes(here);
      Floats square[kLanes];
      for (std::size_t v = 0; v < kLanes; ++v) {
        square[v] = v < vectors ? Simd::load(x + v * columns + column, lanes) : Floats{};
      }
      Simd::transpose(square);
      for (std::size_t i = 0; i < kLanes; ++i) {
        poison[i % 2] = Simd::add_product(square[i], Floats{}, poison[i % 2]);
        if (i < here) Simd::store(out + (column + i) * wide, square[i]);
      }
    }
    for (std::size_t column = block.count; column <= task.view->shape.block_columns; ++column) {
      Simd::store(out + column * wide, Floats{});
    }
    not_finite |= std::uint64_t{Simd::not_numbers(poison[0] + poison[1])} << vector;
  }
  return not_finite;
}

template <typename Simd, std::size_t kRows, int kWide>
inline void add_sums(const Quartet& quartet, std::size_t first, const typename Simd::Floats (&sums)[kRows][kWide]) {
  for (std::size_t k = 0; k < kRows; ++k) {
    for (int j = 0; j < kWide; ++j) {
      float* const sum = quartet.sums[first + k] + Simd::kLanes * j;
      Simd::store(sum, Simd::load(sum) + sums[k][j]);
    }
  }
}

// The sums of a panel, row by row -> y, vector by vector.
template <typename Simd>
void finish(const PanelTask& task, std::size_t panel, std::size_t wide, const float* sums) {
  constexpr std::size_t kLanes = Simd::kLanes;
  const std::size_t rows = task.view->header.rows;
  const auto [first, count] = rows_of(*task.view, panel);
  for (std::size_t row = 0; row < count; row += kLanes) {
    const auto lanes = Simd::first_lanes(count - row);
    typename Simd::Floats bias = {};
    if (task.bias) bias = Simd::load(task.bias + first + row, lanes);
    for (std::size_t vector = 0; vector < wide; vector += kLanes) {
      typename Simd::Floats square[kLanes];
      for (std::size_t i = 0; i < kLanes; ++i) square[i] = Simd::load(sums + (row + i) * wide + vector);
      Simd::transpose(square);
      float* const out = task.y + vector * rows + first + row;
      const std::size_t vectors = at_most(task.vectors - vector, kLanes);
      for (std::size_t i = 0; i < kLanes; ++i) {
        if (i < vectors) Simd::store(out + i * rows, lanes, square[i] + bias);
      }
    }
  }
}

// A codebook in memory.
struct InMemory {
  const float* table;

  explicit InMemory(const Centroids& centroids) : table(centroids.table) {}
};

// Book: the codebook as multiply_quartet<kWide>(quartet, x, book) looks it up.
template <typename Simd, typename Book, int kWide>
void run_wide(const PanelTask& task, std::size_t panel, float* sums) {
  constexpr std::size_t kWidth = kWide * Simd::kLanes;
  const Centroids centroids(*task.view);
  const Book book(centroids);
  sum_panel(task, panel, kWidth, sums,
            [&](const Quartet& quartet, const float* x) { Simd::template multiply_quartet<kWide>(quartet, x, book); });
  finish<Simd>(task, panel, kWidth, sums);
}

template <typename Simd, typename Book>
void run(const PanelTask& task, std::size_t panel, float* sums) {
  switch (width<Simd>(task.vectors) / Simd::kLanes) {
    case 1:
      return run_wide<Simd, Book, 1>(task, panel, sums);
    case 2:
      return run_wide<Simd, Book, 2>(task, panel, sums);
    case 3:
      return run_wide<Simd, Book, 3>(task, panel, sums);
    default:
      return run_wide<Simd, Book, 4>(task, panel, sums);
  }
}

}  // namespace
}  // namespace dcz
