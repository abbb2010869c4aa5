// The form `window`: finding its sections, and checking them.
#include "packed/window/window.hpp"

#include <stdexcept>

namespace dcz {
namespace {

bool holds(const PackedHeader& header, const WindowSections& sections) {
  if (header.layout > static_cast<std::uint8_t>(WindowLayout::one_window)) return false;
  const bool digits24 = header.layout == static_cast<std::uint8_t>(WindowLayout::digits24);
  // rows that kernels number by 31 bits
  return header.rows >> 31 == 0 && header.columns <= kMostWindowColumns &&
         header.units == (header.rows + sections.group_rows - 1) / sections.group_rows &&
         !(digits24 && header.grid == Grid::int8);
}

}  // namespace

WindowSections::WindowSections(const PackedHeader& header) {
  const auto layout = static_cast<WindowLayout>(header.layout);
  const bool one_window = layout == WindowLayout::one_window;
  const std::size_t centroids = std::size_t{1} << header.code_bits, pairs = header.length;
  windows = one_window ? 1 : 2;
  group_rows = 2 * kStepRows / windows;
  planes = layout == WindowLayout::digits24 ? 4 : header.grid == Grid::int16 && !one_window ? 3 : 1;
  pair_bytes = header.code_bits == 8 ? 256 : 192;
  const std::size_t lanes = group_rows * header.units;
  Sections sections;
  codebook = sections.next(sizeof(float) * centroids);
  digits = sections.next(planes * centroids);
  ends = sections.next(sizeof(std::uint32_t) * header.units);
  order = sections.next(sizeof(std::uint32_t) * lanes);
  sums = sections.next(sizeof(std::int32_t) * lanes * planes);
  starts = sections.next(sizeof(std::uint16_t) * windows * pairs);
  fifths = sections.next(one_window && header.code_bits == 5 ? 2 * sizeof(std::uint64_t) * pairs : 0);
  stream = sections.next(pair_bytes * pairs);
  bytes = sections.end();
}

WindowView window_view(std::span<const std::uint8_t> packed) {
  const PackedHeader header = read_packed_header(packed);
  const WindowSections sections(header);
  if (header.form != Form::window || !holds(header, sections)) {
    throw std::invalid_argument("packed weights of the form window that contradict themselves");
  }
  if (sections.bytes != header.bytes) throw std::invalid_argument("packed weights whose sections do not fill them");
  const auto layout = static_cast<WindowLayout>(header.layout);
  const std::size_t blocks = blocks_of(layout, header.columns);
  const std::uint8_t* const data = packed.data();
  return {.header = header,
          .group_rows = sections.group_rows,
          .planes = sections.planes,
          .stream_bytes = sections.pair_bytes,
          .blocks = blocks,
          .last_start = blocks - window_blocks(layout),
          .codebook = reinterpret_cast<const float*>(data + sections.codebook),
          .digits = reinterpret_cast<const std::int8_t*>(data + sections.digits),
          .ends = reinterpret_cast<const std::uint32_t*>(data + sections.ends),
          .order = reinterpret_cast<const std::uint32_t*>(data + sections.order),
          .sums = reinterpret_cast<const std::int32_t*>(data + sections.sums),
          .starts = reinterpret_cast<const std::uint16_t*>(data + sections.starts),
          .fifths = data + sections.fifths,
          .stream = data + sections.stream};
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
  const std::size_t windows = view.one_window() ? view.pairs() : 2 * view.pairs();
  for (std::size_t window = 0; window < windows; ++window) {
    if (view.starts[window] > view.last_start) {
      throw std::invalid_argument("packed weights with a window behind the last column");
    }
  }
}

}  // namespace dcz
