// Vectors that are not finite, multiplied by the weights that survive alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace dcz {

// y = x W^T, computed from the weights that survive.
struct Product {
  const float* x;  // vectors x columns
  std::size_t vectors, columns, rows;
  float* y;  // vectors x rows
};

// Makes it what a dense layer would: what is infinite or NaN meets each weight, pruned ones too, and times zero it is
// NaN. `count(marks, met)` is to multiply marks, like x, by a one for each weight that survives, which says whether all
// others met finite numbers.
template <typename Count>
void spoil_not_finite(const Product& product, const Count& count) {
  const std::size_t columns = product.columns, rows = product.rows;
  const auto finite = [](float element) { return std::isfinite(element); };
  if (std::all_of(product.x, product.x + product.vectors * columns, finite)) return;
  std::vector<float> marks(product.vectors * columns), met(product.vectors * rows);
  for (std::size_t i = 0; i < marks.size(); ++i) marks[i] = finite(product.x[i]) ? 0.0f : 1.0f;
  count(marks.data(), met.data());
  for (std::size_t v = 0; v < product.vectors; ++v) {
    const auto mark = marks.begin() + static_cast<std::ptrdiff_t>(v * columns);
    const auto all = static_cast<float>(std::count(mark, mark + static_cast<std::ptrdiff_t>(columns), 1.0f));
    for (std::size_t row = 0; row < rows; ++row) {
      if (met[v * rows + row] != all) product.y[v * rows + row] = std::numeric_limits<float>::quiet_NaN();
    }
  }
}

}  // namespace dcz
