// Rounds weights to centroids column by column; each column first takes over the errors of those before it.
#include "sharing/column_rounding.hpp"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "common/pool.hpp"

namespace dcz {
namespace {

// Sums are first taken over so many rows: the result is then the same for any number of threads.
constexpr std::size_t kRows = 16;

class Rounder {
 public:
  explicit Rounder(const ColumnRounding& rounding)
      : centroids_(rounding.centroids), prices_(rounding.prices), zero_(static_cast<std::int16_t>(rounding.zero)) {
    for (std::size_t i = 0; i < centroids_.size(); ++i) {
      if (!prices_.empty() || i != rounding.zero) numbers_.push_back(static_cast<std::int16_t>(i));
    }
    for (std::size_t i = 1; i < numbers_.size(); ++i) middles_.push_back((at(numbers_[i]) + at(numbers_[i - 1])) / 2);
  }

  float at(std::int16_t code) const { return centroids_[static_cast<std::size_t>(code)]; }
  std::int16_t zero() const { return zero_; }

  std::int16_t operator()(float value, float importance) const {
    if (numbers_.empty()) return zero_;
    const std::int16_t nearest = numbers_[middles_below(value)];
    if (prices_.empty()) return nearest;
    const auto inward = static_cast<std::int16_t>(nearest - (nearest > zero_) + (nearest < zero_));
    const float best = cost(nearest, value, importance), nearer = cost(inward, value, importance);
    const float zeroed = importance * (value * value) + prices_[static_cast<std::size_t>(zero_)];
    if (zeroed < std::min(best, nearer)) return zero_;
    return nearer < best ? inward : nearest;
  }

 private:
  float cost(std::int16_t code, float value, float importance) const {
    const float error = value - at(code);
    return importance * (error * error) + prices_[static_cast<std::size_t>(code)];
  }

  // A binary search without branches, which could be mispredicted.
  std::size_t middles_below(float value) const {
    const float* from = middles_.data();
    std::size_t left = middles_.size();
    while (left > 1) {
      const std::size_t half = left / 2;
      from += from[half - 1] < value ? half : 0;
      left -= half;
    }
    return static_cast<std::size_t>(from - middles_.data()) + (left == 1 && *from < value);
  }

  std::span<const float> centroids_, prices_;
  std::int16_t zero_;
  std::vector<std::int16_t> numbers_;
  std::vector<float> middles_;
};

struct Sums {
  explicit Sums(std::size_t centroids) : counts(centroids), weights(centroids), values(centroids) {}
  std::vector<double> counts, weights, values;
  double cost = 0;
};

void add(std::span<double> to, const std::vector<double>& from) {
  for (std::size_t i = 0; i < from.size(); ++i) to[i] += from[i];
}

// One row of one group.
void round_row(const Rounder& rounder, const Columns& in, const RoundedColumns& out, std::size_t group, std::size_t row,
               Sums& sums) {
  const std::size_t whole = (group * in.rows + row) * in.columns + in.first;
  float* const targets = out.targets.data() + (group * in.rows + row) * in.width;
  const float row_weight = in.row_weights[group * in.rows + row];
  for (std::size_t j = 0; j < in.width; ++j) {
    const float target = targets[j], importance = row_weight * in.importance[group * in.columns + in.first + j];
    const bool survives = in.survives.empty() || in.survives[whole + j] != 0;
    const std::int16_t code = survives ? rounder(target, importance) : rounder.zero();
    const float error = in.weights[whole + j] - rounder.at(code);
    out.codes[whole + j] = code;
    out.errors[whole + j] = error;
    if (!in.upper.empty()) {
      const float* const next = in.upper.data() + (group * in.columns + in.first + j) * in.columns + in.first;
      for (std::size_t k = j + 1; k < in.width; ++k) targets[k] += error * next[k];
    }
    const auto number = static_cast<std::size_t>(code);
    const double weight = importance, left = double{target} - double{rounder.at(code)};
    sums.counts[number] += 1;
    sums.weights[number] += weight;
    sums.values[number] += weight * double{target};
    sums.cost += weight * left * left;
  }
}

void check(const ColumnRounding& rounding, const Columns& in, const RoundedColumns& out) {
  const std::size_t rows = in.groups * in.rows, all = rows * in.columns, centroids = rounding.centroids.size();
  const auto none_or = [](std::size_t size, std::size_t wanted) { return size == 0 || size == wanted; };
  const bool fits = in.first <= in.columns && in.width <= in.columns - in.first && in.weights.size() == all &&
                    none_or(in.upper.size(), in.groups * in.columns * in.columns) &&
                    in.importance.size() == in.groups * in.columns && in.row_weights.size() == rows &&
                    none_or(in.survives.size(), all) && out.targets.size() == rows * in.width &&
                    out.codes.size() == all && out.errors.size() == all && out.counts.size() == centroids &&
                    out.sums_of_weights.size() == centroids && out.sums.size() == centroids;
  if (!fits) throw std::invalid_argument("the sizes of the arrays do not fit together");
  if (rounding.zero >= centroids || centroids > 32767 || !none_or(rounding.prices.size(), centroids)) {
    throw std::invalid_argument("zero must be one of the centroids, and each have a price or none");
  }
}

}  // namespace

double round_columns(const ColumnRounding& rounding, const Columns& columns, const RoundedColumns& rounded,
                     unsigned threads) {
  check(rounding, columns, rounded);
  const Rounder rounder(rounding);
  const std::size_t rows = columns.groups * columns.rows, parts = (rows + kRows - 1) / kRows;
  std::vector<Sums> sums(parts, Sums(rounding.centroids.size()));
  share_items(threads, parts, [&](std::size_t part, unsigned) {
    for (std::size_t i = part * kRows; i < std::min(rows, (part + 1) * kRows); ++i) {
      round_row(rounder, columns, rounded, i / columns.rows, i % columns.rows, sums[part]);
    }
  });
  double cost = 0;
  for (const Sums& each : sums) {
    add(rounded.counts, each.counts);
    add(rounded.sums_of_weights, each.weights);
    add(rounded.sums, each.values);
    cost += each.cost;
  }
  return cost;
}

}  // namespace dcz
