// Packing rows into segments.
#include "packed/segments/pack.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace dcz {

std::uint32_t panel_rows_for(std::uint64_t rows, std::size_t unit) {
  constexpr std::size_t kMostRows = 512, kLeastRows = 64, kPanels = 4;
  const auto all = static_cast<std::size_t>(rows);
  const std::size_t wanted = std::clamp(all / kLeastRows, std::size_t{1}, kPanels);
  const std::size_t panels = std::max(wanted, (all + kMostRows - 1) / kMostRows);
  return static_cast<std::uint32_t>(std::max(unit, round_up((all + panels - 1) / panels, unit)));
}

std::uint16_t finite_code(const Matrix& matrix) {
  const auto found =
      std::find_if(matrix.codebook.begin(), matrix.codebook.end(), [](float c) { return std::isfinite(c); });
  return static_cast<std::uint16_t>(found == matrix.codebook.end() ? 0 : found - matrix.codebook.begin());
}

SegmentPacker::SegmentPacker(const Matrix& matrix, const SegmentShape& shape, const SegmentLimits& limits)
    : matrix_(matrix),
      shape_(shape),
      limits_(limits),
      bitmap_(matrix.bitmap, matrix.rows * matrix.columns),
      header_(header_for(limits.form, matrix)) {
  header_.units = static_cast<std::uint32_t>((matrix.rows + shape.panel_rows - 1) / shape.panel_rows);
}

void SegmentPacker::pack() {
  for (std::size_t panel = 0; panel < header_.units; ++panel) add_panel(panel);
  shape_.groups = turns_.size();
  add(std::span<const SegmentShape>(&shape_, 1), 1);
  add(matrix_.codebook, std::size_t{1} << header_.code_bits);
}

void SegmentPacker::add_panel(std::size_t panel) {
  first_row_ = panel * shape_.panel_rows;
  panel_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(shape_.panel_rows, matrix_.rows - first_row_)));
  found_.resize(panel_.size());
  needed_.resize(panel_.size());
  for (std::size_t i = 0; i < panel_.size(); ++i) {
    Row& row = panel_[i];
    const std::uint64_t begin = (first_row_ + i) * matrix_.columns;
    row.columns.clear();
    bitmap_.each(begin, begin + matrix_.columns,
                 [&](std::uint64_t at) { row.columns.push_back(static_cast<std::uint32_t>(at - begin)); });
    row.codes = matrix_.codes.data() + survivors_;
    row.end = 0;
    survivors_ += row.columns.size();
  }
  for (std::size_t block = 0; block < blocks_of(matrix_.columns, shape_); ++block) add_segment(block);
}

void SegmentPacker::add_segment(std::size_t block) {
  const std::size_t first_column = block * shape_.block_columns, behind = first_column + shape_.block_columns;
  order_.clear();
  for (std::size_t i = 0; i < panel_.size(); ++i) {
    Row& row = panel_[i];
    const std::size_t begin = row.end;
    while (row.end < row.columns.size() && row.columns[row.end] < behind) ++row.end;
    found_[i] = {std::span(row.columns).subspan(begin, row.end - begin), row.codes + begin};
    needed_[i] = turns_of(i, found_[i], first_column);
    if (needed_[i] > 0) order_.push_back(static_cast<std::uint16_t>(i));
  }
  std::stable_sort(order_.begin(), order_.end(), [&](auto a, auto b) { return needed_[a] > needed_[b]; });
  for (std::size_t first = 0; first < order_.size(); first += limits_.group_rows) {
    const std::size_t there = std::min(limits_.group_rows, order_.size() - first);
    const auto group = std::span<const std::uint16_t>(order_).subspan(first, there);
    rows_.insert(rows_.end(), group.begin(), group.end());
    rows_.insert(rows_.end(), limits_.group_rows - there, static_cast<std::uint16_t>(shape_.panel_rows));
    turns_.push_back(static_cast<std::uint16_t>(needed_[group[0]]));
    add_turns(group, needed_[group[0]], first_column);
    header_.length += needed_[group[0]];
  }
  if (header_.length > std::numeric_limits<std::uint32_t>::max()) {
    throw std::invalid_argument("packed weights in segments have at most 2^32 turns");
  }
  ends_.push_back({static_cast<std::uint32_t>(turns_.size()), static_cast<std::uint32_t>(header_.length)});
}

void SegmentPacker::add_groups() {
  add(ends_);
  add(rows_);
  add(turns_);
}

}  // namespace dcz
