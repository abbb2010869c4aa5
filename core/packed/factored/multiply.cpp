// y = x W^T + bias from packed weights of the form `factored`. Plain C++ serves every instruction set: four columns
// cost five look-ups of a float, which no gathering instruction beats.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "common/pool.hpp"
#include "common/scratch.hpp"
#include "packed/factored/factored.hpp"
#include "packed/not_finite.hpp"
#include "packed/segments/walk.hpp"

namespace dcz {
namespace {

// Turns below which a second thread would come too late: some 20 microseconds.
constexpr std::size_t kWorthAThread = 6000;

// The bits of the largest magnitude of which the sum of four is finite. Those of infinities and NaNs are larger.
constexpr auto kMostSummed = std::bit_cast<std::int32_t>(0x1p125f);

// Turns whose sums are added to the totals at once: floats would lose digits in one long chain of sums.
constexpr std::size_t kSettle = 64;

using Sums = std::array<float, kQuartet>;

// Brings x into blocks; whether no magnitude passes kMostSummed. What lies behind the last block is left as it is: only
// spoilt bytes point there.
bool prepare(const FactoredView& view, const float* x, float* prepared) {
  std::int32_t large = 0;
  for (std::size_t number = 0; number < view.blocks; ++number) {
    const Block<float> block = block_at(view, number, prepared, 1);
    for (std::size_t i = 0; i < block.count; ++i) {
      large |= (std::bit_cast<std::int32_t>(x[block.begin + i]) & 0x7fffffff) > kMostSummed;
      block.prepared[i] = x[block.begin + i];
    }
    std::fill(block.prepared + block.count, block.prepared + view.shape.block_columns + 1, 0.0f);
  }
  return large == 0;
}

// Four rows in a block: their turns, x of the block, and where the rows stand in the panel.
struct Quartet {
  const std::uint16_t* columns;
  const std::uint8_t* codes;
  std::size_t turns;
  const float* x;
  std::array<std::size_t, kQuartet> rows;
};

// visit(quartet) for each one of a panel, block by block.
template <typename Visit>
void visit_quartets(const FactoredView& view, std::size_t panel, const float* prepared, const Visit& visit) {
  Groups<kQuartet> groups(view, panel);
  for (std::size_t block = 0; block < view.blocks; ++block) {
    groups.enter_segment();
    for (Group group; groups.next(group);) {
      Quartet found{view.columns + kTurnColumns * group.first_turn,
                    view.codes + kQuartet * group.first_turn,
                    group.turns,
                    block_at(view, block, prepared, 1).prepared,
                    {}};
      for (std::size_t k = 0; k < kQuartet; ++k) found.rows[k] = at_most(group.rows[k], view.shape.panel_rows);
      visit(found);
    }
  }
}

// One load finds four columns.
inline float sum_of_four(const std::uint16_t* columns, const float* x) {
  std::uint64_t four;
  std::memcpy(&four, columns, sizeof four);
  return (x[four & 0xffff] + x[four >> 16 & 0xffff]) + (x[four >> 32 & 0xffff] + x[four >> 48]);
}

Sums sums_of(const Quartet& quartet, const float* x, const float* centroids) {
  const std::uint16_t* columns = quartet.columns;
  const std::uint8_t* codes = quartet.codes;
  Sums totals{};
  for (std::size_t turns = quartet.turns; turns > 0;) {
    const std::size_t settled = std::min(turns, kSettle);
    float sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    for (std::size_t turn = 0; turn < settled; ++turn, columns += kTurnColumns, codes += kQuartet) {
      sum0 += centroids[codes[0]] * sum_of_four(columns, x);
      sum1 += centroids[codes[1]] * sum_of_four(columns + kSharing, x);
      sum2 += centroids[codes[2]] * sum_of_four(columns + 2 * kSharing, x);
      sum3 += centroids[codes[3]] * sum_of_four(columns + 3 * kSharing, x);
    }
    totals = {totals[0] + sum0, totals[1] + sum1, totals[2] + sum2, totals[3] + sum3};
    turns -= settled;
  }
  return totals;
}

void run_panel(const FactoredView& view, std::size_t panel, const float* prepared, const Centroids& centroids,
               const float* bias, float* y) {
  std::array<float, kMostPanelRows + 1> sums;  // and one that quartets name for rows they lack
  std::fill_n(sums.begin(), view.shape.panel_rows + 1, 0.0f);
  visit_quartets(view, panel, prepared, [&](const Quartet& quartet) {
    const Sums four = sums_of(quartet, quartet.x, centroids.table);
    for (std::size_t k = 0; k < kQuartet; ++k) sums[quartet.rows[k]] += four[k];
  });
  const PanelRows rows = rows_of(view, panel);
  for (std::size_t i = 0; i < rows.count; ++i) y[rows.first + i] = sums[i] + (bias ? bias[rows.first + i] : 0.0f);
}

// The same, each x times its own centroid, for what is so large that sums of four could pass the largest float, or not
// finite.
void run_panel_by_term(const FactoredView& view, std::size_t panel, const float* prepared, const Centroids& centroids,
                       const float* bias, float* y) {
  std::array<double, kMostPanelRows + 1> sums{};
  visit_quartets(view, panel, prepared, [&](const Quartet& quartet) {
    for (std::size_t i = 0; i < kTurnColumns * quartet.turns; ++i) {
      sums[quartet.rows[i / kSharing % kQuartet]] += static_cast<double>(quartet.x[quartet.columns[i]]) *
                                                     static_cast<double>(centroids.table[quartet.codes[i / kSharing]]);
    }
  });
  const PanelRows rows = rows_of(view, panel);
  for (std::size_t i = 0; i < rows.count; ++i) {
    y[rows.first + i] = static_cast<float>(sums[i]) + (bias ? bias[rows.first + i] : 0.0f);
  }
}

// A vector that `prepare` finds too large.
void multiply_by_term(const FactoredView& view, const Centroids& centroids, const float* x, float* prepared,
                      const float* bias, float* y, unsigned parts) {
  const auto by_panels = [&](const Centroids& table, auto run, const float* addend, float* out) {
    share_items(parts, view.panels(),
                [&](std::size_t panel, unsigned) { run(view, panel, prepared, table, addend, out); });
  };
  by_panels(centroids, run_panel_by_term, bias, y);
  spoil_not_finite({x, 1, view.header.columns, view.header.rows, y}, [&](const float* marks, float* met) {
    const std::vector<float> ones(std::size_t{1} << view.header.code_bits, 1.0f);
    FactoredView counting = view;
    counting.codebook = ones.data();
    prepare(view, marks, prepared);
    by_panels(Centroids(counting), run_panel, nullptr, met);
  });
}

}  // namespace

void multiply_factored(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                       float* y, unsigned threads) {
  const FactoredView view = factored_view(packed);
  if (vectors == 0 || view.header.rows == 0) return;
  const Centroids centroids(view);
  const unsigned parts = view.parts_for(view.header.length, kWorthAThread, threads);
  auto* const prepared = reinterpret_cast<float*>(scratch(view.prepared_columns() * sizeof(float)));
  for (std::size_t v = 0; v < vectors; ++v, x += view.header.columns, y += view.header.rows) {
    if (prepare(view, x, prepared)) {
      share_items(parts, view.panels(),
                  [&](std::size_t panel, unsigned) { run_panel(view, panel, prepared, centroids, bias, y); });
    } else {
      multiply_by_term(view, centroids, x, prepared, bias, y, parts);
    }
  }
}

}  // namespace dcz
