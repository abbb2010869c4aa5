// The walk through a panel, with every bound that bytes could break: included once by each file that is compiled for an
// instruction set of its own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quad_kernel.hpp"

namespace dcz {
namespace {

inline std::size_t at_most(std::size_t value, std::size_t limit) { return value < limit ? value : limit; }

// The survivors of a row in a block.
struct Run {
  const std::uint16_t* entries;
  std::size_t fours, row;
};

// Gives the runs of a panel, segment by segment.
class Runs {
 public:
  Runs(const QuadView& view, std::size_t panel) : view_(view), segment_(panel * view.blocks) {
    if (segment_ == 0) return;
    run_ = end_ = view.ends[segment_ - 1].runs;
    four_ = at_most(view.ends[segment_ - 1].fours, view.header.length);
  }

  void enter_segment() { end_ = at_most(view_.ends[segment_++].runs, view_.shape.runs); }

  // False if the segment has no more.
  bool next(Run& run) {
    if (run_ >= end_) return false;
    run.entries = view_.entries + kFour * four_;
    run.fours = at_most(at_most(view_.fours[run_], kMostFours), view_.header.length - four_);
    run.row = at_most(view_.rows[run_], view_.shape.panel_rows - std::size_t{1});
    four_ += run.fours;
    ++run_;
    return true;
  }

 private:
  const QuadView& view_;
  std::size_t segment_, run_ = 0, end_ = 0, four_ = 0;
};

// The columns of a block, and where they stand when they are prepared.
struct Block {
  std::size_t begin, count;
  std::uint8_t* prepared;
};

inline Block block_of(const QuadTask& task, std::size_t block, std::size_t column_bytes) {
  const QuadView& view = *task.view;
  const std::size_t columns = view.shape.block_columns, begin = block * columns;
  return {begin, at_most(columns, view.header.columns - begin), task.prepared + block * (columns + 1) * column_bytes};
}

// The rows of a panel.
struct PanelRows {
  std::size_t first, count;
};

inline PanelRows rows_of(const QuadView& view, std::size_t panel) {
  const std::size_t first = panel * view.shape.panel_rows;
  return {first, at_most(view.shape.panel_rows, view.header.rows - first)};
}

}  // namespace
}  // namespace dcz
