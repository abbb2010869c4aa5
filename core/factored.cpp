// The form `factored`: packing and finding its sections.
#include "factored.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "bitmap.hpp"

namespace dcz {
namespace {

struct Layout {
  std::size_t shape, codebook, ends, rows, turns, columns, codes, bytes;
};

Layout layout_of(const PackedHeader& header, const PanelShape& shape, std::size_t blocks) {
  Sections sections;
  Layout layout{};
  layout.shape = sections.next(sizeof shape);
  layout.codebook = sections.next(sizeof(float) << header.code_bits);
  layout.ends = sections.next(sizeof(SegmentEnd) * header.units * blocks);
  layout.rows = sections.next(sizeof(std::uint16_t) * kQuartet * shape.quartets);
  layout.turns = sections.next(sizeof(std::uint16_t) * shape.quartets);
  layout.columns = sections.next(sizeof(std::uint16_t) * kTurnColumns * header.length);
  layout.codes = sections.next(kQuartet * header.length);
  layout.bytes = sections.end();
  return layout;
}

std::size_t blocks_of(std::uint64_t columns, const PanelShape& shape) {
  return static_cast<std::size_t>((columns + shape.block_columns - 1) / shape.block_columns);
}

// Blocks: x of one stays in the first cache; the fewer there are, the fewer fours are left unfilled. Panels: their sums
// stay there too; the more rows, the more have as many fours; a second thread wants two.
PanelShape shape_for(const Matrix& matrix) {
  constexpr std::size_t kMostColumns = 8192, kMostRows = 512, kFewRows = 128;
  const auto rows = static_cast<std::size_t>(matrix.rows), columns = static_cast<std::size_t>(matrix.columns);
  const std::size_t blocks = std::max<std::size_t>(1, (columns + kMostColumns - 1) / kMostColumns);
  const std::size_t panels = std::max<std::size_t>(rows < kFewRows ? 1 : 2, (rows + kMostRows - 1) / kMostRows);
  return {static_cast<std::uint32_t>(std::max<std::size_t>(1, (columns + blocks - 1) / blocks)),
          static_cast<std::uint32_t>(std::max<std::size_t>(kQuartet, round_up((rows + panels - 1) / panels, kQuartet))),
          0};
}

// A row's survivors in the block at hand, by code, and where those of the next block begin.
struct Row {
  std::vector<std::uint32_t> columns;
  const std::uint8_t* codes;
  std::size_t next = 0;
  std::vector<std::uint16_t> four_columns;
  std::vector<std::uint8_t> four_codes;

  std::size_t fours() const { return four_codes.size(); }
};

// Packs one panel after the other.
class Packer {
 public:
  Packer(const Matrix& matrix, const PanelShape& shape)
      : matrix_(matrix),
        shape_(shape),
        nothing_(static_cast<std::uint16_t>(shape.block_columns)),
        bitmap_(matrix.bitmap, matrix.rows * matrix.columns),
        by_code_(matrix.codebook.size()) {}

  void add_panel(std::size_t panel) {
    const std::uint64_t first = panel * shape_.panel_rows;
    rows_.assign(static_cast<std::size_t>(std::min<std::uint64_t>(shape_.panel_rows, matrix_.rows - first)), Row{});
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      Row& row = rows_[i];
      const std::uint64_t begin = (first + i) * matrix_.columns;
      bitmap_.each(begin, begin + matrix_.columns,
                   [&](std::uint64_t at) { row.columns.push_back(static_cast<std::uint32_t>(at - begin)); });
      row.codes = matrix_.codes.data() + survivors_;
      survivors_ += row.columns.size();
    }
    for (std::size_t block = 0; block < blocks_of(matrix_.columns, shape_); ++block) add_segment(block);
  }

  std::vector<SegmentEnd> ends;
  std::vector<std::uint16_t> rows, turns, columns;
  std::vector<std::uint8_t> codes;

 private:
  void add_segment(std::size_t block) {
    std::vector<std::uint16_t> order;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      cut_into_fours(rows_[i], block * shape_.block_columns);
      if (rows_[i].fours() > 0) order.push_back(static_cast<std::uint16_t>(i));
    }
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return rows_[a].fours() > rows_[b].fours(); });
    for (std::size_t first = 0; first < order.size(); first += kQuartet) {
      add_quartet(std::span(order).subspan(first, std::min(kQuartet, order.size() - first)));
    }
    if (codes.size() / kQuartet > std::numeric_limits<std::uint32_t>::max()) {
      throw std::invalid_argument("the form factored has at most 2^32 turns of sixteen survivors");
    }
    ends.push_back({static_cast<std::uint32_t>(turns.size()), static_cast<std::uint32_t>(codes.size() / kQuartet)});
  }

  void cut_into_fours(Row& row, std::size_t first_column) {
    row.four_columns.clear();
    row.four_codes.clear();
    for (; row.next < row.columns.size() && row.columns[row.next] < first_column + shape_.block_columns; ++row.next) {
      by_code_[row.codes[row.next]].push_back(static_cast<std::uint16_t>(row.columns[row.next] - first_column));
    }
    for (std::size_t code = 0; code < by_code_.size(); ++code) {
      std::vector<std::uint16_t>& found = by_code_[code];
      found.resize(round_up(found.size(), kSharing), nothing_);
      row.four_columns.insert(row.four_columns.end(), found.begin(), found.end());
      row.four_codes.insert(row.four_codes.end(), found.size() / kSharing, static_cast<std::uint8_t>(code));
      found.clear();
    }
  }

  void add_quartet(std::span<const std::uint16_t> quartet) {
    const std::size_t most = rows_[quartet[0]].fours(), turn = codes.size() / kQuartet;
    turns.push_back(static_cast<std::uint16_t>(most));
    columns.resize(kTurnColumns * (turn + most), nothing_);
    codes.resize(kQuartet * (turn + most), 0);
    for (std::size_t k = 0; k < kQuartet; ++k) {
      rows.push_back(k < quartet.size() ? quartet[k] : static_cast<std::uint16_t>(shape_.panel_rows));
      if (k >= quartet.size()) continue;
      const Row& row = rows_[quartet[k]];
      for (std::size_t i = 0; i < row.fours(); ++i) {
        const std::size_t at = kQuartet * (turn + i) + k;
        std::copy_n(row.four_columns.data() + kSharing * i, kSharing, columns.data() + kSharing * at);
        codes[at] = row.four_codes[i];
      }
    }
  }

  const Matrix& matrix_;
  const PanelShape shape_;
  const std::uint16_t nothing_;
  const Bitmap bitmap_;
  std::uint64_t survivors_ = 0;  // before the panel at hand
  std::vector<Row> rows_;
  std::vector<std::vector<std::uint16_t>> by_code_;
};

template <typename T>
void put(std::vector<std::uint8_t>& packed, std::size_t at, std::span<const T> values) {
  if (!values.empty()) std::memcpy(packed.data() + at, values.data(), values.size_bytes());
}

}  // namespace

std::vector<std::uint8_t> pack_factored(const Matrix& matrix) {
  matrix.check();
  if (!std::all_of(matrix.codebook.begin(), matrix.codebook.end(), [](float c) { return std::isfinite(c); })) {
    throw std::invalid_argument("centroids of the form factored are finite");
  }
  PanelShape shape = shape_for(matrix);
  const std::size_t panels = (static_cast<std::size_t>(matrix.rows) + shape.panel_rows - 1) / shape.panel_rows;
  Packer packer(matrix, shape);
  for (std::size_t panel = 0; panel < panels; ++panel) packer.add_panel(panel);
  shape.quartets = packer.turns.size();

  PackedHeader header{};
  header.magic = kPackedMagic;
  header.form = Form::factored;
  header.code_bits = code_bits_for(matrix.codebook.size());
  header.grid = Grid::none;
  header.rows = matrix.rows;
  header.columns = matrix.columns;
  header.survivors = matrix.codes.size();
  header.centroids = static_cast<std::uint32_t>(matrix.codebook.size());
  header.units = static_cast<std::uint32_t>(panels);
  header.length = packer.codes.size() / kQuartet;
  const Layout layout = layout_of(header, shape, blocks_of(matrix.columns, shape));
  header.bytes = layout.bytes;

  std::vector<std::uint8_t> packed(layout.bytes, 0);
  std::memcpy(packed.data(), &header, sizeof header);
  std::memcpy(packed.data() + layout.shape, &shape, sizeof shape);
  put(packed, layout.codebook, matrix.codebook);
  put<SegmentEnd>(packed, layout.ends, packer.ends);
  put<std::uint16_t>(packed, layout.rows, packer.rows);
  put<std::uint16_t>(packed, layout.turns, packer.turns);
  put<std::uint16_t>(packed, layout.columns, packer.columns);
  put<std::uint8_t>(packed, layout.codes, packer.codes);
  return packed;
}

FactoredView factored_view(std::span<const std::uint8_t> packed) {
  FactoredView view{};
  view.header = read_packed_header(packed);
  const PackedHeader& header = view.header;
  PanelShape& shape = view.shape;
  if (packed.size() >= sizeof header + sizeof shape) std::memcpy(&shape, packed.data() + sizeof header, sizeof shape);
  if (header.form != Form::factored || shape.block_columns == 0 || shape.block_columns >= kNamedColumns ||
      shape.panel_rows == 0 || shape.panel_rows > kMostPanelRows || shape.quartets > header.bytes ||
      header.units != (header.rows + shape.panel_rows - 1) / shape.panel_rows) {
    throw std::invalid_argument("packed weights of the form factored that contradict themselves");
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
  view.columns = reinterpret_cast<const std::uint16_t*>(data + layout.columns);
  view.codes = data + layout.codes;
  return view;
}

void check_factored(const FactoredView& view) {
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
  const auto past = [](const auto* values, std::size_t count, std::size_t last) {
    return std::any_of(values, values + count, [&](auto value) { return value > last; });
  };
  if (past(view.rows, kQuartet * view.shape.quartets, view.shape.panel_rows)) {
    throw std::invalid_argument("packed weights with a row outside its panel");
  }
  if (past(view.columns, kTurnColumns * view.header.length, view.shape.block_columns) ||
      past(view.codes, kQuartet * view.header.length, (std::size_t{1} << view.header.code_bits) - 1)) {
    throw std::invalid_argument("packed weights with a four outside of its block or the codebook");
  }
}

}  // namespace dcz
