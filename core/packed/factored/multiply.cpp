// y = x W^T + bias from packed weights of the form `factored`. Plain C++ serves every instruction set: four columns
// cost five look-ups of a float. No gathering instruction is faster.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "common/pool.hpp"
#include "common/scratch.hpp"
#include "packed/factored/factored.hpp"
#include "packed/not_finite.hpp"
#include "packed/segments/walk.hpp"

namespace dcz {
namespace {

// With fewer turns, some 20 microseconds, a second thread would come too late.
constexpr std::size_t kWorthAThread = 6000;

// The bits of a magnitude whose sums of four are finite. Infinities and NaNs have larger bits.
constexpr auto kMostSummed = std::bit_cast<std::int32_t>(0x1p125f);

// So many turns are summed up before they are added to the totals: one long chain of float sums would lose digits.
constexpr std::size_t kSettle = 64;

using Sums = std::array<float, kQuartet>;

// Brings x into blocks. True if no magnitude passes kMostSummed. Only spoilt bytes point behind the last block, which
// keeps what was there.
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

// Four rows in a block: their turns, and x of the block.
struct Quartet {
  const std::uint16_t* columns;
  const std::uint8_t* codes;
  std::size_t turns;
  const float* x;
};

// One load finds four columns.
inline float sum_of_four(const std::uint16_t* columns, const float* x) {
  std::uint64_t four;
  std::memcpy(&four, columns, sizeof four);
  return (x[four & 0xffff] + x[four >> 16 & 0xffff]) + (x[four >> 32 & 0xffff] + x[four >> 48]);
}

Sums sums_of(const Quartet& quartet, const float* centroids) {
  const std::uint16_t* columns = quartet.columns;
  const std::uint8_t* codes = quartet.codes;
  Sums totals{};
  for (std::size_t turns = quartet.turns; turns > 0;) {
    const std::size_t settled = std::min(turns, kSettle);
    float sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    for (std::size_t turn = 0; turn < settled; ++turn, columns += kTurnColumns, codes += kQuartet) {
      sum0 += centroids[codes[0]] * sum_of_four(columns, quartet.x);
      sum1 += centroids[codes[1]] * sum_of_four(columns + kSharing, quartet.x);
      sum2 += centroids[codes[2]] * sum_of_four(columns + 2 * kSharing, quartet.x);
      sum3 += centroids[codes[3]] * sum_of_four(columns + 3 * kSharing, quartet.x);
    }
    totals = {totals[0] + sum0, totals[1] + sum1, totals[2] + sum2, totals[3] + sum3};
    turns -= settled;
  }
  return totals;
}

// The same, each x times its own centroid: for x that are not finite, or so large that a sum of four may not be.
std::array<double, kQuartet> sums_by_term(const Quartet& quartet, const float* centroids) {
  std::array<double, kQuartet> sums{};
  for (std::size_t i = 0; i < kTurnColumns * quartet.turns; ++i) {
    sums[i / kSharing % kQuartet] += static_cast<double>(quartet.x[quartet.columns[i]]) *
                                     static_cast<double>(centroids[quartet.codes[i / kSharing]]);
  }
  return sums;
}

// kSums: sums_of or sums_by_term.
template <typename Sum, auto kSums>
void run_panel(const FactoredView& view, std::size_t panel, const float* prepared, const Centroids& centroids,
               const float* bias, float* y) {
  std::array<Sum, kMostPanelRows + 1> sums;  // the last one is of the row that quartets name for rows they lack
  std::fill_n(sums.begin(), view.shape.panel_rows + 1, Sum{0});
  each_group<kQuartet>(view, panel, [&](std::size_t block, const Group& group) {
    const Quartet quartet{view.columns + kTurnColumns * group.first_turn, view.codes + kQuartet * group.first_turn,
                          group.turns, block_at(view, block, prepared, 1).prepared};
    const std::array<Sum, kQuartet> four = kSums(quartet, centroids.table);
    for (std::size_t k = 0; k < kQuartet; ++k) sums[at_most(group.rows[k], view.shape.panel_rows)] += four[k];
  });
  const PanelRows rows = rows_of(view, panel);
  for (std::size_t i = 0; i < rows.count; ++i) {
    y[rows.first + i] = static_cast<float>(sums[i]) + (bias ? bias[rows.first + i] : 0.0f);
  }
}

}  // namespace

void multiply_factored(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                       float* y, unsigned threads) {
  const FactoredView view = factored_view(packed);
  if (vectors == 0 || view.header.rows == 0) return;
  const unsigned parts = view.parts_for(view.header.length, kWorthAThread, threads);
  auto* const prepared = reinterpret_cast<float*>(scratch(view.prepared_columns() * sizeof(float)));
  const auto run_panels = [&](auto run, const FactoredView& of, const Centroids& table, const float* addend,
                              float* out) {
    auto item = [&](std::size_t panel, unsigned) { run(of, panel, prepared, table, addend, out); };
    run_phases(parts, std::array{phase_of(of.panels(), item)}, Items::equal);
  };
  const Centroids centroids(view);
  for (std::size_t v = 0; v < vectors; ++v, x += view.header.columns, y += view.header.rows) {
    if (prepare(view, x, prepared)) {
      run_panels(run_panel<float, sums_of>, view, centroids, bias, y);
      continue;
    }
    run_panels(run_panel<double, sums_by_term>, view, centroids, bias, y);
    spoil_not_finite({x, 1, view.header.columns, view.header.rows, y}, view,
                     [&](const FactoredView& counting, const float* marks, float* met) {
                       prepare(view, marks, prepared);
                       run_panels(run_panel<float, sums_of>, counting, Centroids(counting), nullptr, met);
                     });
  }
}

}  // namespace dcz
