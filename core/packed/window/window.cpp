// The form `window`: finding its sections, and checking them.
#include "packed/window/window.hpp"

#include <algorithm>
#include <stdexcept>

namespace dcz {
namespace {

bool holds(const PackedHeader& header, const WindowShape& shape) {
  if (header.layout > static_cast<std::uint8_t>(WindowLayout::one_window)) return false;
  const bool digits24 = header.layout == static_cast<std::uint8_t>(WindowLayout::digits24);
  // kernels number rows by 31 bits
  return header.rows >> 31 == 0 && header.columns <= kMostWindowColumns &&
         header.units == (header.rows + shape.group_rows - 1) / shape.group_rows &&
         !(digits24 && header.grid == Grid::int8);
}

}  // namespace

WindowShape::WindowShape(const PackedHeader& header) {
  const auto layout = static_cast<WindowLayout>(header.layout);
  const bool one_window = layout == WindowLayout::one_window;
  windows = one_window ? 1 : 2;
  group_rows = 2 * kStepRows / windows;
  planes = layout == WindowLayout::digits24 ? 4 : header.grid == Grid::int16 && !one_window ? 3 : 1;
  pair_bytes = header.code_bits == 8 ? 256 : 192;
  window_blocks = one_window ? 4 : 2;
  blocks = std::max<std::size_t>(window_blocks, (header.columns + kBlockColumns - 1) / kBlockColumns);
  last_start = blocks - window_blocks;
}

WindowView window_view(std::span<const std::uint8_t> packed) {
  const PackedHeader header = read_packed_header(packed);
  WindowView view(header);
  if (header.form != Form::window || !holds(header, view)) {
    throw std::invalid_argument("packed weights of the form window that contradict themselves");
  }
  const std::size_t centroids = std::size_t{1} << header.code_bits, lanes = view.group_rows * view.groups();
  SectionReader sections(packed);
  view.codebook = sections.next<float>(centroids);
  view.digits = sections.next<std::int8_t>(view.planes * centroids);
  view.ends = sections.next<std::uint32_t>(view.groups());
  view.order = sections.next<std::uint32_t>(lanes);
  view.sums = sections.next<std::int32_t>(view.planes * lanes);
  view.starts = sections.next<std::uint16_t>(view.windows * view.pairs());
  const bool fifths = view.one_window() && header.code_bits == 5;
  view.fifths = sections.next<std::uint8_t>(fifths ? 2 * sizeof(std::uint64_t) * view.pairs() : 0);
  view.stream = sections.next<std::uint8_t>(view.pair_bytes * view.pairs());
  sections.finish();
  return view;
}

void check_window(const WindowView& view) {
  std::uint32_t end = 0;
  for (std::size_t group = 0; group < view.groups(); ++group) {
    if (view.ends[group] < end || view.ends[group] > view.pairs()) {
      throw std::invalid_argument("packed weights with a group outside of the stream");
    }
    end = view.ends[group];
  }
  if (end != view.pairs()) throw std::invalid_argument("packed weights whose groups do not fill the stream");
  std::vector<bool> seen(view.header.rows);
  for (std::size_t lane = 0; lane < view.group_rows * view.groups(); ++lane) {
    const std::uint32_t row = view.order[lane];
    if (lane >= view.header.rows ? row != kNoRow : row >= view.header.rows || seen[row]) {
      throw std::invalid_argument("packed weights whose lanes are not the rows, each once");
    }
    if (row != kNoRow) seen[row] = true;
  }
  const std::uint16_t* const end_of_starts = view.starts + view.windows * view.pairs();
  if (std::any_of(view.starts, end_of_starts, [&](std::uint16_t start) { return start > view.last_start; })) {
    throw std::invalid_argument("packed weights with a window behind the last column");
  }
}

}  // namespace dcz
