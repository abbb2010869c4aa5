// The walk through the runs of a panel: included once by each file that is compiled for an instruction set of its own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packed/quad/kernel.hpp"
#include "packed/segments/walk.hpp"

namespace dcz {
namespace {

// The survivors of a row in a block.
struct Run {
  const std::uint16_t* entries;
  std::size_t fours, row;
};

// Gives the runs of a panel, segment by segment.
class Runs {
 public:
  Runs(const QuadView& view, std::size_t panel) : view_(view), groups_(view, panel) {}

  void enter_segment() { groups_.enter_segment(); }

  // False if the segment has no more.
  bool next(Run& run) {
    Group group;
    if (!groups_.next(group)) return false;
    run.entries = view_.entries + kFour * group.first_turn;
    run.fours = group.turns;
    run.row = at_most(group.rows[0], view_.shape.panel_rows - std::size_t{1});
    return true;
  }

 private:
  const QuadView& view_;
  Groups<1, kMostFours> groups_;
};

// `column_bytes` stand for a prepared column.
inline Block<std::uint8_t> block_of(const QuadTask& task, std::size_t block, std::size_t column_bytes) {
  return block_at(*task.view, block, task.prepared, column_bytes);
}

}  // namespace
}  // namespace dcz
