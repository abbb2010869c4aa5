// Signs of weights, where centroids lie on both sides of zero. docs/format.md, "Codes". Included by model.cpp alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "adaptive/mixer.hpp"
#include "adaptive/neighbours.hpp"

namespace dcz {
namespace {

template <bool kMatrix>
class Signs {
 public:
  explicit Signs(const Grid& grid)
      : columns_(grid.row),
        by_strengths_(375),
        by_pulls_(kSignedLevels * kSignedLevels),
        by_history_(kMatrix ? 64 : 0),
        by_signs_(kMatrix ? 0 : 243 * std::min<std::size_t>(grid.kernel, 10)),
        by_slopes_(kMatrix ? 0 : kSignedLevels * kSignedLevels),
        mixer_(grid.kernel, percent(kMatrix ? 35 : 28), 8) {}

  void begin_row() { by_row_ = Counter(32768, 2); }

  // Gives whether the weight's centroid is not below zero: `positive` if the coder encodes.
  template <class Coder>
  bool code(Coder& coder, bool positive, const Place& at, const Around& a) {
    Column& column = columns_[at.in_row];
    Counter* const strengths = &by_strengths_[a.strengths()];
    Counter* const pulls = &by_pulls_[kSignedLevels * signed_level(a.pull()) + signed_level(column.pull >> 2)];
    if constexpr (kMatrix) {
      Counter* const history = &by_history_[column.signs & 63];
      positive = mixer_.code(coder, positive, 0, {strengths, &column.positive, &by_row_, pulls, history}, kSlow<5>);
      column.signs = column.signs << 1 | positive;
      return positive;
    } else {
      Counter* const signs = &by_signs_[243 * std::min<std::size_t>(at.in_kernel, 9) + a.signs()];
      Counter* const slopes =
          &by_slopes_[kSignedLevels * signed_level(2 * a.west - a.west2) + signed_level(2 * a.north - a.north2)];
      return mixer_.code(coder, positive, at.in_kernel, {strengths, &column.positive, &by_row_, pulls, signs, slopes},
                         kSlow<6>);
    }
  }

  void learn(int signed_size, const Place& at) {
    int& pull = columns_[at.in_row].pull;
    pull += (16 * signed_size - pull) >> 3;
  }

 private:
  // Learned from the same place in all rows.
  struct Column {
    Counter positive;
    int pull = 0;             // mean of the survivors' signed sizes, in 16ths
    std::uint32_t signs = 0;  // the last survivors', a bit each
  };

  Counter by_row_;
  std::vector<Column> columns_;
  std::vector<Counter> by_strengths_, by_pulls_, by_history_, by_signs_, by_slopes_;
  Mixer<kMatrix ? 5 : 6> mixer_;
};

}  // namespace
}  // namespace dcz
