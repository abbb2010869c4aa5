// The walk through a panel, with every bound that bytes could break: included once by each file that is compiled for an
// instruction set of its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "panel_kernel.hpp"

namespace dcz {
namespace {

inline std::size_t at_most(std::size_t value, std::size_t limit) { return value < limit ? value : limit; }

// As many centroids as an entry's 8 bits can name; those that the codebook lacks are zero.
struct Centroids {
  alignas(64) float table[256];

  explicit Centroids(const PanelView& view) {
    const std::size_t count = std::size_t{1} << view.header.code_bits;
    for (std::size_t i = 0; i < 256; ++i) table[i] = i < count ? view.codebook[i] : 0.0f;
  }
};

// Four rows: their entries, turn by turn, and where their sums stand. What a quartet is is summed by itself, then
// added: so long rows lose no digits.
struct Quartet {
  const std::uint16_t* entries;
  std::size_t turns;
  std::array<float*, kQuartet> sums;
};

// multiply(quartet, x of the block) for each quartet of a panel, block by block. `width` floats stand for a column.
template <typename Multiply>
void visit_quartets(const PanelTask& task, std::size_t panel, std::size_t width, float* sums,
                    const Multiply& multiply) {
  const PanelView& view = *task.view;
  const std::size_t first = panel * view.blocks, panel_rows = view.shape.panel_rows;
  std::size_t quartet = first == 0 ? 0 : view.ends[first - 1].quartets;
  std::size_t turn = first == 0 ? 0 : at_most(view.ends[first - 1].turns, view.header.length);
  for (std::size_t block = 0; block < view.blocks; ++block) {
    const float* const x = task.prepared + block * (view.shape.block_columns + std::size_t{1}) * width;
    const std::size_t last = at_most(view.ends[first + block].quartets, view.shape.quartets);
    for (; quartet < last; ++quartet) {
      const std::uint16_t* const rows = view.rows + kQuartet * quartet;
      const std::size_t turns = at_most(view.turns[quartet], view.header.length - turn);
      multiply(Quartet{view.entries + kQuartet * turn,
                       turns,
                       {sums + at_most(rows[0], panel_rows) * width, sums + at_most(rows[1], panel_rows) * width,
                        sums + at_most(rows[2], panel_rows) * width, sums + at_most(rows[3], panel_rows) * width}},
               x);
      turn += turns;
    }
  }
}

// The columns of a block.
struct Block {
  std::size_t begin, count;
  float* prepared;
};

inline Block block_of(const PanelTask& task, std::size_t block, std::size_t width) {
  const PanelView& view = *task.view;
  const std::size_t columns = view.shape.block_columns, begin = block * columns;
  return {begin, at_most(columns, view.header.columns - begin), task.prepared + block * (columns + 1) * width};
}

}  // namespace
}  // namespace dcz
