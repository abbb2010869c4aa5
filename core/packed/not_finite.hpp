// Products with vectors that are not finite.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace dcz {

// y = x W^T, computed from the survivors.
struct Product {
  const float* x;  // vectors x columns
  std::size_t vectors, columns, rows;
  float* y;  // vectors x rows
};

// Makes y the result of a dense layer, where infinities and NaNs meet each weight, pruned ones too: times zero they are
// NaN. count(view, marks, met) multiplies marks, like x, by a view whose weights are all one. `met` shows whether a
// row's pruned weights met finite numbers alone.
template <typename View, typename Count>
void spoil_not_finite(const Product& product, View view, const Count& count) {
  const std::size_t columns = product.columns, rows = product.rows;
  const auto finite = [](float element) { return std::isfinite(element); };
  if (std::all_of(product.x, product.x + product.vectors * columns, finite)) return;
  std::vector<float> marks(product.vectors * columns), met(product.vectors * rows);
  for (std::size_t i = 0; i < marks.size(); ++i) marks[i] = finite(product.x[i]) ? 0.0f : 1.0f;
  const std::vector<float> ones(std::size_t{1} << view.header.code_bits, 1.0f);
  view.codebook = ones.data();
  count(view, marks.data(), met.data());
  for (std::size_t v = 0; v < product.vectors; ++v) {
    const auto mark = marks.begin() + static_cast<std::ptrdiff_t>(v * columns);
    const auto all = static_cast<float>(std::count(mark, mark + static_cast<std::ptrdiff_t>(columns), 1.0f));
    for (std::size_t row = 0; row < rows; ++row) {
      if (met[v * rows + row] != all) product.y[v * rows + row] = std::numeric_limits<float>::quiet_NaN();
    }
  }
}

}  // namespace dcz
