// The form `panel`: packing and finding its sections.
#include "panel.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "bitmap.hpp"

namespace dcz {
namespace {

struct Layout {
  std::size_t shape, codebook, ends, rows, turns, entries, bytes;
};

Layout layout_of(const PackedHeader& header, const PanelShape& shape, std::size_t blocks) {
  Sections sections;
  Layout layout{};
  layout.shape = sections.next(sizeof shape);
  layout.codebook = sections.next(sizeof(float) << header.code_bits);
  layout.ends = sections.next(sizeof(SegmentEnd) * header.units * blocks);
  layout.rows = sections.next(sizeof(std::uint16_t) * kQuartet * shape.quartets);
  layout.turns = sections.next(sizeof(std::uint16_t) * shape.quartets);
  layout.entries = sections.next(sizeof(std::uint16_t) * kQuartet * header.length);
  layout.bytes = sections.end();
  return layout;
}

std::size_t blocks_of(std::uint64_t columns, const PanelShape& shape) {
  return static_cast<std::size_t>((columns + shape.block_columns - 1) / shape.block_columns);
}

// Blocks: prepared for 64 vectors, 144 columns leave the first cache room for sums and entries; where few survive,
// wider ones in the second cache cost less than fetching the sums for a few survivors each. Panels: the more rows, the
// more often a prepared block is used and the less padding there is; a second thread wants two.
PanelShape shape_for(const Matrix& matrix) {
  constexpr std::size_t kNarrow = 144, kWide = 240, kEnoughInARow = 13, kMostRows = 512, kFewRows = 128;
  const auto rows = static_cast<std::size_t>(matrix.rows);
  const std::size_t survivors = std::max<std::size_t>(matrix.codes.size(), 1);
  const std::size_t columns = round_up(kEnoughInARow * rows * static_cast<std::size_t>(matrix.columns) / survivors, 16);
  const std::size_t panels = std::max<std::size_t>(rows < kFewRows ? 1 : 2, (rows + kMostRows - 1) / kMostRows);
  const std::size_t panel_rows = std::max<std::size_t>(16, round_up((rows + panels - 1) / panels, 16));
  return {static_cast<std::uint32_t>(std::clamp(columns, kNarrow, kWide)), static_cast<std::uint32_t>(panel_rows), 0};
}

// A code that times zero is zero; only a codebook of 16, 32 or 256 centroids without a finite one has none.
std::uint16_t padding_code(const Matrix& matrix) {
  const auto found =
      std::find_if(matrix.codebook.begin(), matrix.codebook.end(), [](float c) { return std::isfinite(c); });
  return static_cast<std::uint16_t>(found == matrix.codebook.end() ? 0 : found - matrix.codebook.begin());
}

// The survivors of a row that lie in the block at hand are `next` up to `end`.
struct RowCursor {
  std::vector<std::uint32_t> columns;
  const std::uint8_t* codes;
  std::size_t next, end;

  std::size_t count() const { return end - next; }
};

// Packs one panel after the other.
class Packer {
 public:
  Packer(const Matrix& matrix, const PanelShape& shape)
      : matrix_(matrix),
        shape_(shape),
        blocks_(blocks_of(matrix.columns, shape)),
        padding_(static_cast<std::uint16_t>(shape.block_columns << 8 | padding_code(matrix))),
        bitmap_(matrix.bitmap, matrix.rows * matrix.columns) {}

  void add_panel(std::size_t panel) {
    const std::uint64_t first = panel * shape_.panel_rows;
    cursors_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(shape_.panel_rows, matrix_.rows - first)));
    for (RowCursor& row : cursors_) {
      const std::uint64_t begin = (first + static_cast<std::uint64_t>(&row - cursors_.data())) * matrix_.columns;
      row.columns.clear();
      bitmap_.each(begin, begin + matrix_.columns,
                   [&](std::uint64_t at) { row.columns.push_back(static_cast<std::uint32_t>(at - begin)); });
      row.codes = matrix_.codes.data() + survivors_;
      row.next = row.end = 0;
      survivors_ += row.columns.size();
    }
    for (std::size_t block = 0; block < blocks_; ++block) add_segment(block);
  }

  std::vector<SegmentEnd> ends;
  std::vector<std::uint16_t> rows, turns, entries;

 private:
  void add_segment(std::size_t block) {
    const std::size_t behind = (block + 1) * shape_.block_columns;
    order_.clear();
    for (std::size_t row = 0; row < cursors_.size(); ++row) {
      RowCursor& cursor = cursors_[row];
      cursor.next = cursor.end;
      while (cursor.end < cursor.columns.size() && cursor.columns[cursor.end] < behind) ++cursor.end;
      if (cursor.count() > 0) order_.push_back(static_cast<std::uint16_t>(row));
    }
    std::stable_sort(order_.begin(), order_.end(),
                     [&](auto a, auto b) { return cursors_[a].count() > cursors_[b].count(); });
    for (std::size_t first = 0; first < order_.size(); first += kQuartet) {
      add_quartet(std::span(order_).subspan(first, std::min(kQuartet, order_.size() - first)),
                  block * shape_.block_columns);
    }
    if (entries.size() / kQuartet > std::numeric_limits<std::uint32_t>::max()) {
      throw std::invalid_argument("the form panel has at most 2^32 turns of four survivors");
    }
    ends.push_back({static_cast<std::uint32_t>(turns.size()), static_cast<std::uint32_t>(entries.size() / kQuartet)});
  }

  void add_quartet(std::span<const std::uint16_t> quartet, std::size_t first_column) {
    const std::size_t most = cursors_[quartet[0]].count(), at = entries.size();
    turns.push_back(static_cast<std::uint16_t>(most));
    entries.resize(at + kQuartet * most, padding_);
    for (std::size_t k = 0; k < kQuartet; ++k) {
      rows.push_back(k < quartet.size() ? quartet[k] : static_cast<std::uint16_t>(shape_.panel_rows));
      if (k >= quartet.size()) continue;
      const RowCursor& row = cursors_[quartet[k]];
      for (std::size_t i = 0; i < row.count(); ++i) {
        const std::size_t local = row.columns[row.next + i] - first_column;
        entries[at + kQuartet * i + k] = static_cast<std::uint16_t>(local << 8 | row.codes[row.next + i]);
      }
    }
  }

  const Matrix& matrix_;
  const PanelShape shape_;
  const std::size_t blocks_;
  const std::uint16_t padding_;
  const Bitmap bitmap_;
  std::uint64_t survivors_ = 0;  // before the panel at hand
  std::vector<RowCursor> cursors_;
  std::vector<std::uint16_t> order_;
};

template <typename T>
void put(std::vector<std::uint8_t>& packed, std::size_t at, std::span<const T> values) {
  if (!values.empty()) std::memcpy(packed.data() + at, values.data(), values.size_bytes());
}

}  // namespace

std::vector<std::uint8_t> pack_panel(const Matrix& matrix) {
  matrix.check();
  PanelShape shape = shape_for(matrix);
  const std::size_t panels = (static_cast<std::size_t>(matrix.rows) + shape.panel_rows - 1) / shape.panel_rows;
  Packer packer(matrix, shape);
  for (std::size_t panel = 0; panel < panels; ++panel) packer.add_panel(panel);
  shape.quartets = packer.turns.size();

  PackedHeader header{};
  header.magic = kPackedMagic;
  header.form = Form::panel;
  header.code_bits = code_bits_for(matrix.codebook.size());
  header.grid = Grid::none;
  header.rows = matrix.rows;
  header.columns = matrix.columns;
  header.survivors = matrix.codes.size();
  header.centroids = static_cast<std::uint32_t>(matrix.codebook.size());
  header.units = static_cast<std::uint32_t>(panels);
  header.length = packer.entries.size() / kQuartet;
  const Layout layout = layout_of(header, shape, blocks_of(matrix.columns, shape));
  header.bytes = layout.bytes;

  std::vector<std::uint8_t> packed(layout.bytes, 0);
  std::memcpy(packed.data(), &header, sizeof header);
  std::memcpy(packed.data() + layout.shape, &shape, sizeof shape);
  put(packed, layout.codebook, matrix.codebook);
  put<SegmentEnd>(packed, layout.ends, packer.ends);
  put<std::uint16_t>(packed, layout.rows, packer.rows);
  put<std::uint16_t>(packed, layout.turns, packer.turns);
  put<std::uint16_t>(packed, layout.entries, packer.entries);
  return packed;
}

PanelView panel_view(std::span<const std::uint8_t> packed) {
  PanelView view{};
  view.header = read_packed_header(packed);
  const PackedHeader& header = view.header;
  PanelShape& shape = view.shape;
  if (packed.size() >= sizeof header + sizeof shape) std::memcpy(&shape, packed.data() + sizeof header, sizeof shape);
  if (header.form != Form::panel || shape.block_columns == 0 || shape.block_columns > kMostBlockColumns ||
      shape.panel_rows == 0 || shape.panel_rows > kMostPanelRows || shape.quartets > header.bytes ||
      header.units != (header.rows + shape.panel_rows - 1) / shape.panel_rows) {
    throw std::invalid_argument("packed weights of the form panel that contradict themselves");
  }
  view.blocks = blocks_of(header.columns, shape);
  // before the product of the two, which could overflow
  const bool fits = header.units == 0 || view.blocks <= header.bytes / sizeof(SegmentEnd) / header.units;
  const Layout layout = fits ? layout_of(header, shape, view.blocks) : Layout{};
  if (layout.bytes != header.bytes) throw std::invalid_argument("packed weights whose sections do not fill them");
  const std::uint8_t* const data = packed.data();
  view.codebook = reinterpret_cast<const float*>(data + layout.codebook);
  view.ends = reinterpret_cast<const SegmentEnd*>(data + layout.ends);
  view.rows = reinterpret_cast<const std::uint16_t*>(data + layout.rows);
  view.turns = reinterpret_cast<const std::uint16_t*>(data + layout.turns);
  view.entries = reinterpret_cast<const std::uint16_t*>(data + layout.entries);
  return view;
}

void check_panel(const PanelView& view) {
  SegmentEnd begin{0, 0};
  for (std::size_t segment = 0; segment < view.panels() * view.blocks; ++segment) {
    const SegmentEnd end = view.ends[segment];
    if (end.quartets < begin.quartets || end.quartets > view.shape.quartets) {
      throw std::invalid_argument("packed weights with a segment outside of the quartets");
    }
    std::uint64_t turns = begin.turns;
    for (std::size_t quartet = begin.quartets; quartet < end.quartets; ++quartet) turns += view.turns[quartet];
    if (turns != end.turns) throw std::invalid_argument("packed weights whose quartets do not fill their segment");
    begin = end;
  }
  if (begin.quartets != view.shape.quartets || begin.turns != view.header.length) {
    throw std::invalid_argument("packed weights whose segments do not fill the stream");
  }
  for (std::size_t i = 0; i < kQuartet * view.shape.quartets; ++i) {
    if (view.rows[i] > view.shape.panel_rows)
      throw std::invalid_argument("packed weights with a row outside its panel");
  }
  for (std::size_t i = 0; i < kQuartet * view.header.length; ++i) {
    const std::uint16_t entry = view.entries[i];
    if (entry >> 8 > view.shape.block_columns || (entry & 0xff) >> view.header.code_bits != 0) {
      throw std::invalid_argument("packed weights with an entry outside of its block or the codebook");
    }
  }
}

}  // namespace dcz
