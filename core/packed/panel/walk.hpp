// The walk through the quartets of panels. Each file that is compiled for an instruction set of its own includes this
// once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "packed/panel/kernel.hpp"
#include "packed/segments/walk.hpp"

namespace dcz {
namespace {

// Four rows in a block: their entries, turn by turn, and their sums. A kernel sums a quartet up by itself before it
// adds to `sums`: so long rows lose no digits.
struct Quartet {
  const std::uint16_t* entries;
  std::size_t turns;
  std::array<float*, kQuartet> sums;
};

// Sums a panel up: multiply(quartet, x of the block) adds to the quartet's sums. A prepared column has `width` floats.
template <typename Multiply>
inline void sum_panel(const PanelTask& task, std::size_t panel, std::size_t width, float* sums,
                      const Multiply& multiply) {
  const PanelView& view = *task.view;
  std::memset(sums, 0, sum_rows(view) * width * sizeof(float));
  each_group<kQuartet>(view, panel, [&](std::size_t block, const Group& group) {
    const auto sums_of = [&](std::size_t k) { return sums + at_most(group.rows[k], view.shape.panel_rows) * width; };
    multiply(
        Quartet{
            view.entries + kQuartet * group.first_turn, group.turns, {sums_of(0), sums_of(1), sums_of(2), sums_of(3)}},
        block_at(view, block, task.prepared, width).prepared);
  });
}

}  // namespace
}  // namespace dcz
