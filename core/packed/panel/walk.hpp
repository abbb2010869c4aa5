// The walk through the quartets of a panel: included once by each file that is compiled for an instruction set of its
// own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "packed/panel/kernel.hpp"
#include "packed/segments/walk.hpp"

namespace dcz {
namespace {

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
  const std::size_t panel_rows = view.shape.panel_rows;
  Groups<kQuartet> groups(view, panel);
  for (std::size_t block = 0; block < view.blocks; ++block) {
    const float* const x = block_at(view, block, task.prepared, width).prepared;
    groups.enter_segment();
    for (Group group; groups.next(group);) {
      const std::uint16_t* const rows = group.rows;
      multiply(Quartet{view.entries + kQuartet * group.first_turn,
                       group.turns,
                       {sums + at_most(rows[0], panel_rows) * width, sums + at_most(rows[1], panel_rows) * width,
                        sums + at_most(rows[2], panel_rows) * width, sums + at_most(rows[3], panel_rows) * width}},
               x);
    }
  }
}

}  // namespace
}  // namespace dcz
