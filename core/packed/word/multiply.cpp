// y = x W^T + bias from packed weights of the form `word`. Plain C++ serves every instruction set: the form is made for
// GPUs, and other forms are faster here.
#include <algorithm>
#include <vector>

#include "common/pool.hpp"
#include "packed/not_finite.hpp"
#include "packed/word/walk.hpp"

namespace dcz {
namespace {

// With fewer survivors times vectors, some 20 microseconds, a second thread would come too late.
constexpr std::size_t kWorthAThread = 20000;

struct Survivor {
  std::size_t column;
  float weight;
};

void run_block(const WordView& view, std::size_t block, const float* x, std::size_t vectors, const float* bias,
               float* y, std::vector<Survivor>& survivors) {
  for (std::size_t stored = block * view.block_rows; stored < (block + 1) * view.block_rows; ++stored) {
    const std::uint32_t row = view.row(stored);
    if (row >= view.header.rows) continue;
    survivors.clear();
    each_survivor(view, stored,
                  [&](std::size_t column, std::uint32_t code) { survivors.push_back({column, view.codebook[code]}); });
    for (std::size_t v = 0; v < vectors; ++v) {
      const float* const vector = x + v * view.header.columns;
      double sum = 0;
      for (const Survivor& each : survivors) {
        sum += static_cast<double>(each.weight) * static_cast<double>(vector[each.column]);
      }
      y[v * view.header.rows + row] = static_cast<float>(sum) + (bias ? bias[row] : 0.0f);
    }
  }
}

void run(const WordView& view, const float* x, std::size_t vectors, const float* bias, float* y, unsigned threads) {
  const std::size_t worth = 1 + vectors * view.header.survivors / kWorthAThread;
  const auto parts = static_cast<unsigned>(std::min({std::size_t{threads}, worth, view.blocks()}));
  share_parts(parts, [&](unsigned part) {
    std::vector<Survivor> survivors;
    for (std::size_t block = view.blocks() * part / parts; block < view.blocks() * (part + 1) / parts; ++block) {
      run_block(view, block, x, vectors, bias, y, survivors);
    }
  });
}

}  // namespace

void multiply_word(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                   float* y, unsigned threads) {
  const WordView view = word_view(packed);
  // a row that spoilt bytes do not name
  std::fill_n(y, vectors * view.header.rows, 0.0f);
  run(view, x, vectors, bias, y, threads);
  spoil_not_finite({x, vectors, view.header.columns, view.header.rows, y}, view,
                   [&](const WordView& counting, const float* marks, float* met) {
                     std::fill_n(met, vectors * view.header.rows, 0.0f);
                     run(counting, marks, vectors, nullptr, met, threads);
                   });
}

}  // namespace dcz
