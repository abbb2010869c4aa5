// Rounds weights to centroids column by column; each column first takes over the errors of those before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dcz {

// Values -> codes of the least importance x squared error + price, among the nearest centroid, its neighbour towards
// zero, and zero. Without prices: the nearest centroid but zero's own, if there is any.
struct ColumnRounding {
  std::span<const float> centroids;  // strictly ascending, finite
  std::size_t zero;                  // the number of the centroid that is 0
  std::span<const float> prices;     // one for each centroid, or none
};

// Some columns, `first` to `first` + `width`, of matrices (groups, rows, columns), in the order of rounding.
struct Columns {
  std::size_t groups, rows, columns, first, width;
  std::span<const float> weights;          // (groups, rows, columns)
  std::span<const float> upper;            // (groups, columns, columns), or none if columns are independent
  std::span<const float> importance;       // (groups, columns)
  std::span<const float> row_weights;      // (groups, rows)
  std::span<const std::uint8_t> survives;  // (groups, rows, columns), or none if all may
};

// The results. `targets` (groups, rows, width) are the weights with the errors of earlier columns, and take over those
// of these. `counts` by code grow, as do the sums by code of importance (`sums_of_weights`) and of importance x target
// (`sums`).
struct RoundedColumns {
  std::span<float> targets;
  std::span<std::int16_t> codes;  // (groups, rows, columns)
  std::span<float> errors;        // the same: weights - centroids
  std::span<double> counts, sums_of_weights, sums;
};

// The sum of importance x (target - centroid)^2. The same for any number of threads.
double round_columns(const ColumnRounding& rounding, const Columns& columns, const RoundedColumns& rounded,
                     unsigned threads);

}  // namespace dcz
