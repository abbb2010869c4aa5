// The form `quad`: packing and finding its sections.
#include "quad.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <stdexcept>

#include "bitmap.hpp"

namespace dcz {
namespace {

struct Layout {
  std::size_t shape, codebook, digits, sums, ends, rows, fours, entries, bytes;
};

Layout layout_of(const PackedHeader& header, const QuadShape& shape, std::size_t blocks) {
  Sections sections;
  Layout layout{};
  layout.shape = sections.next(sizeof shape);
  layout.codebook = sections.next(sizeof(float) << header.code_bits);
  layout.digits = sections.next(std::size_t{1} << header.code_bits);
  layout.sums = sections.next(sizeof(std::int32_t) * header.rows);
  layout.ends = sections.next(sizeof(RunEnd) * header.units * blocks);
  layout.rows = sections.next(sizeof(std::uint16_t) * shape.runs);
  layout.fours = sections.next(sizeof(std::uint16_t) * shape.runs);
  layout.entries = sections.next(sizeof(std::uint16_t) * kFour * header.length);
  layout.bytes = sections.end();
  return layout;
}

std::size_t blocks_of(std::uint64_t columns, const QuadShape& shape) {
  return static_cast<std::size_t>((columns + shape.block_columns - 1) / shape.block_columns);
}

// The most columns of a block that an entry can name beside that of zeros.
std::size_t most_columns(std::uint8_t code_bits) {
  return std::min<std::size_t>(kMostQuadColumns, (0x10000u >> code_bits) - 1);
}

// Blocks of equal width: prepared for 64 vectors, 608 columns about fill the first cache; where few survive, wider ones
// in the second cost less than fetching sums for a few survivors each. Panels have sums that fit into the second cache;
// a second thread wants two.
QuadShape shape_for(const Matrix& matrix, std::uint8_t code_bits) {
  constexpr std::size_t kNarrow = 608, kWide = 1008, kEnoughInARun = 55, kMostRows = 512, kFewRows = 128;
  const auto rows = static_cast<std::size_t>(matrix.rows), columns = static_cast<std::size_t>(matrix.columns);
  const std::size_t wanted = kEnoughInARun * rows * columns / std::max<std::size_t>(matrix.codes.size(), 1);
  const std::size_t most = std::min(std::clamp(wanted, kNarrow, kWide), most_columns(code_bits)) / 16 * 16;
  const std::size_t blocks = std::max<std::size_t>(1, (columns + most - 1) / most);
  const std::size_t panels = std::max<std::size_t>(rows < kFewRows ? 1 : 2, (rows + kMostRows - 1) / kMostRows);
  const auto even = [](std::size_t size, std::size_t parts) {
    return static_cast<std::uint32_t>(std::max<std::size_t>(16, round_up((size + parts - 1) / parts, 16)));
  };
  return {even(columns, blocks), even(rows, panels), 0};
}

// A code that times zero is zero; only a codebook of 16, 32 or 256 centroids without a finite one has none.
unsigned padding_code(const Matrix& matrix) {
  const auto found =
      std::find_if(matrix.codebook.begin(), matrix.codebook.end(), [](float c) { return std::isfinite(c); });
  return static_cast<unsigned>(found == matrix.codebook.end() ? 0 : found - matrix.codebook.begin());
}

// The survivors of a row that lie in the block at hand are `next` up to `end`.
struct RowCursor {
  std::vector<std::uint32_t> columns;
  const std::uint8_t* codes;
  std::size_t next, end;

  std::size_t fours() const { return (end - next + kFour - 1) / kFour; }
};

// Packs one panel after the other.
class Packer {
 public:
  Packer(const Matrix& matrix, const QuadShape& shape, std::uint8_t code_bits)
      : matrix_(matrix),
        shape_(shape),
        code_bits_(code_bits),
        padding_(static_cast<std::uint16_t>(shape.block_columns << code_bits | padding_code(matrix))),
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
    for (std::size_t block = 0; block < blocks_of(matrix_.columns, shape_); ++block) add_segment(block);
  }

  std::vector<RunEnd> ends;
  std::vector<std::uint16_t> rows, fours, entries;

 private:
  void add_segment(std::size_t block) {
    const std::size_t first = block * shape_.block_columns, behind = first + shape_.block_columns;
    order_.clear();
    for (std::size_t row = 0; row < cursors_.size(); ++row) {
      RowCursor& cursor = cursors_[row];
      cursor.next = cursor.end;
      while (cursor.end < cursor.columns.size() && cursor.columns[cursor.end] < behind) ++cursor.end;
      if (cursor.fours() > 0) order_.push_back(static_cast<std::uint16_t>(row));
    }
    std::stable_sort(order_.begin(), order_.end(),
                     [&](auto a, auto b) { return cursors_[a].fours() > cursors_[b].fours(); });
    for (const std::uint16_t row : order_) add_run(row, first);
    if (entries.size() / kFour > std::numeric_limits<std::uint32_t>::max()) {
      throw std::invalid_argument("the form quad has at most 2^32 times four survivors");
    }
    ends.push_back({static_cast<std::uint32_t>(fours.size()), static_cast<std::uint32_t>(entries.size() / kFour)});
  }

  void add_run(std::uint16_t row, std::size_t first_column) {
    const RowCursor& cursor = cursors_[row];
    rows.push_back(row);
    fours.push_back(static_cast<std::uint16_t>(cursor.fours()));
    for (std::size_t i = cursor.next; i < cursor.end; ++i) {
      entries.push_back(static_cast<std::uint16_t>((cursor.columns[i] - first_column) << code_bits_ | cursor.codes[i]));
    }
    entries.resize(round_up(entries.size(), kFour), padding_);
  }

  const Matrix& matrix_;
  const QuadShape shape_;
  const std::uint8_t code_bits_;
  const std::uint16_t padding_;
  const Bitmap bitmap_;
  std::uint64_t survivors_ = 0;  // before the panel at hand
  std::vector<RowCursor> cursors_;
  std::vector<std::uint16_t> order_;
};

void check_digits(const Matrix& matrix, const Digits8& digits) {
  if (digits.digits.size() != matrix.codebook.size()) {
    throw std::invalid_argument("there must be one digit a centroid");
  }
  for (const std::int16_t digit : digits.digits) {
    if (std::abs(digit) > 127) throw std::invalid_argument("a digit of 8 bits lies between -127 and 127");
  }
}

// The sums of the digits of each row.
std::vector<std::int32_t> digit_sums(const Matrix& matrix, const Digits8& digits) {
  const Bitmap bitmap(matrix.bitmap, matrix.rows * matrix.columns);
  std::vector<std::int32_t> sums(static_cast<std::size_t>(matrix.rows));
  const std::uint8_t* code = matrix.codes.data();
  for (std::size_t row = 0; row < sums.size(); ++row) {
    std::int64_t sum = 0;
    const std::uint64_t begin = row * matrix.columns;
    bitmap.each(begin, begin + matrix.columns, [&](std::uint64_t) { sum += digits.digits[*code++]; });
    sums[row] = static_cast<std::int32_t>(sum);
  }
  return sums;
}

template <typename T>
void put(std::vector<std::uint8_t>& packed, std::size_t at, std::span<const T> values) {
  if (!values.empty()) std::memcpy(packed.data() + at, values.data(), values.size_bytes());
}

}  // namespace

std::vector<std::uint8_t> pack_quad(const Matrix& matrix, const Digits8& digits) {
  matrix.check();
  check_digits(matrix, digits);
  PackedHeader header{};
  header.code_bits = code_bits_for(matrix.codebook.size());
  QuadShape shape = shape_for(matrix, header.code_bits);
  const std::size_t panels = (static_cast<std::size_t>(matrix.rows) + shape.panel_rows - 1) / shape.panel_rows;
  Packer packer(matrix, shape, header.code_bits);
  for (std::size_t panel = 0; panel < panels; ++panel) packer.add_panel(panel);
  shape.runs = packer.rows.size();

  header.magic = kPackedMagic;
  header.form = Form::quad;
  header.grid = digits.grid;
  header.rows = matrix.rows;
  header.columns = matrix.columns;
  header.survivors = matrix.codes.size();
  header.centroids = static_cast<std::uint32_t>(matrix.codebook.size());
  header.units = static_cast<std::uint32_t>(panels);
  header.length = packer.entries.size() / kFour;
  header.scale8 = digits.scale8;
  const Layout layout = layout_of(header, shape, blocks_of(matrix.columns, shape));
  header.bytes = layout.bytes;

  std::vector<std::uint8_t> packed(layout.bytes, 0);
  std::memcpy(packed.data(), &header, sizeof header);
  std::memcpy(packed.data() + layout.shape, &shape, sizeof shape);
  put(packed, layout.codebook, matrix.codebook);
  for (std::size_t i = 0; i < digits.digits.size(); ++i) {
    packed[layout.digits + i] = static_cast<std::uint8_t>(digits.digits[i]);
  }
  put<std::int32_t>(packed, layout.sums, digit_sums(matrix, digits));
  put<RunEnd>(packed, layout.ends, packer.ends);
  put<std::uint16_t>(packed, layout.rows, packer.rows);
  put<std::uint16_t>(packed, layout.fours, packer.fours);
  put<std::uint16_t>(packed, layout.entries, packer.entries);
  return packed;
}

QuadView quad_view(std::span<const std::uint8_t> packed) {
  QuadView view{};
  view.header = read_packed_header(packed);
  const PackedHeader& header = view.header;
  QuadShape& shape = view.shape;
  if (packed.size() >= sizeof header + sizeof shape) std::memcpy(&shape, packed.data() + sizeof header, sizeof shape);
  if (header.form != Form::quad || shape.block_columns == 0 || shape.block_columns > most_columns(header.code_bits) ||
      shape.panel_rows == 0 || shape.panel_rows > kMostQuadRows || shape.runs > header.bytes ||
      header.units != (header.rows + shape.panel_rows - 1) / shape.panel_rows) {
    throw std::invalid_argument("packed weights of the form quad that contradict themselves");
  }
  view.blocks = blocks_of(header.columns, shape);
  // before the product of the two, which could overflow
  const bool fits = header.units == 0 || view.blocks <= header.bytes / sizeof(RunEnd) / header.units;
  const Layout layout = fits ? layout_of(header, shape, view.blocks) : Layout{};
  if (layout.bytes != header.bytes) throw std::invalid_argument("packed weights whose sections do not fill them");
  const std::uint8_t* const data = packed.data();
  view.codebook = reinterpret_cast<const float*>(data + layout.codebook);
  view.digits = reinterpret_cast<const std::int8_t*>(data + layout.digits);
  view.sums = reinterpret_cast<const std::int32_t*>(data + layout.sums);
  view.ends = reinterpret_cast<const RunEnd*>(data + layout.ends);
  view.rows = reinterpret_cast<const std::uint16_t*>(data + layout.rows);
  view.fours = reinterpret_cast<const std::uint16_t*>(data + layout.fours);
  view.entries = reinterpret_cast<const std::uint16_t*>(data + layout.entries);
  return view;
}

void check_quad(const QuadView& view) {
  RunEnd begin{0, 0};
  for (std::size_t segment = 0; segment < view.panels() * view.blocks; ++segment) {
    const RunEnd end = view.ends[segment];
    if (end.runs < begin.runs || end.runs > view.shape.runs) {
      throw std::invalid_argument("packed weights with a segment outside of the runs");
    }
    std::uint64_t fours = begin.fours;
    for (std::size_t run = begin.runs; run < end.runs; ++run) {
      if (view.fours[run] > kMostFours) throw std::invalid_argument("packed weights with a run longer than its block");
      fours += view.fours[run];
    }
    if (fours != end.fours) throw std::invalid_argument("packed weights whose runs do not fill their segment");
    begin = end;
  }
  if (begin.runs != view.shape.runs || begin.fours != view.header.length) {
    throw std::invalid_argument("packed weights whose segments do not fill the stream");
  }
  for (std::size_t i = 0; i < view.shape.runs; ++i) {
    if (view.rows[i] >= view.shape.panel_rows)
      throw std::invalid_argument("packed weights with a row outside its panel");
  }
  for (std::size_t i = 0; i < kFour * view.header.length; ++i) {
    if (std::uint32_t{view.entries[i]} >> view.header.code_bits > view.shape.block_columns) {
      throw std::invalid_argument("packed weights with an entry outside of its block");
    }
  }
}

}  // namespace dcz
