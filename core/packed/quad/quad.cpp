// The form `quad`: packing and sections.
#include "packed/quad/quad.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "packed/segments/pack.hpp"

namespace dcz {
namespace {

// An entry can name each column of a block and that of zeros.
SegmentLimits limits_for(std::uint8_t code_bits) {
  return {Form::quad, 1, std::min<std::size_t>(kMostQuadColumns, (0x10000u >> code_bits) - 1), kMostFours};
}

// Blocks of equal width. Prepared for 64 vectors, 608 columns about fill the first cache. Where few weights survive,
// wider blocks in the second cache cost less: sums are fetched less often.
SegmentShape shape_for(const Matrix& matrix) {
  constexpr std::size_t kNarrow = 608, kWide = 1008, kEnoughInARun = 55;
  const auto rows = static_cast<std::size_t>(matrix.rows), columns = static_cast<std::size_t>(matrix.columns);
  const std::size_t wanted = kEnoughInARun * rows * columns / std::max<std::size_t>(matrix.codes.size(), 1);
  const std::size_t limit = limits_for(code_bits_for(matrix.codebook.size())).most_columns;
  const std::size_t most = std::min(std::clamp(wanted, kNarrow, kWide), limit) / 16 * 16;
  const std::size_t blocks = std::max<std::size_t>(1, (columns + most - 1) / most);
  const std::size_t even = std::max<std::size_t>(16, round_up((columns + blocks - 1) / blocks, 16));
  return {static_cast<std::uint32_t>(even), panel_rows_for(matrix.rows, 16), 0};
}

class Packer : public SegmentPacker {
 public:
  Packer(const Matrix& matrix, const Digits8& digits)
      : SegmentPacker(matrix, shape_for(matrix), limits_for(code_bits_for(matrix.codebook.size()))),
        padding_(static_cast<std::uint16_t>(shape().block_columns << header().code_bits | finite_code(matrix))),
        digits_(digits.digits.begin(), digits.digits.end()),
        sums_(static_cast<std::size_t>(matrix.rows)) {
    header().grid = digits.grid;
    header().scale8 = digits.scale8;
  }

  PageBytes run() {
    pack();
    add(std::span<const std::int8_t>(digits_), std::size_t{1} << header().code_bits);
    add(sums_);
    add_groups();
    add(entries_);
    return packed(header());
  }

 private:
  std::size_t turns_of(std::size_t, const RowSurvivors& survivors, std::size_t) override {
    return (survivors.columns.size() + kFour - 1) / kFour;
  }

  void add_turns(std::span<const std::uint16_t> run, std::size_t fours, std::size_t first_column) override {
    const RowSurvivors& row = survivors(run[0]);
    const std::size_t behind = entries_.size() + kFour * fours;
    std::int64_t sum = sums_[first_row() + run[0]];
    for (std::size_t i = 0; i < row.columns.size(); ++i) {
      entries_.push_back(
          static_cast<std::uint16_t>((row.columns[i] - first_column) << header().code_bits | row.codes[i]));
      sum += digits_[row.codes[i]];
    }
    sums_[first_row() + run[0]] = static_cast<std::int32_t>(sum);
    entries_.resize(behind, padding_);
  }

  const std::uint16_t padding_;
  const std::vector<std::int8_t> digits_;
  std::vector<std::int32_t> sums_;
  std::vector<std::uint16_t> entries_;
};

}  // namespace

PageBytes pack_quad(const Matrix& matrix, const Digits8& digits) {
  matrix.check();
  if (digits.digits.size() != matrix.codebook.size()) {
    throw std::invalid_argument("there must be one digit a centroid");
  }
  if (std::any_of(digits.digits.begin(), digits.digits.end(), [](int digit) { return std::abs(digit) > 127; })) {
    throw std::invalid_argument("a digit of 8 bits lies between -127 and 127");
  }
  return Packer(matrix, digits).run();
}

QuadView quad_view(std::span<const std::uint8_t> packed) {
  QuadView view{};
  SegmentReader reader(packed, limits_for(read_packed_header(packed).code_bits), view);
  view.digits = reader.next<std::int8_t>(std::size_t{1} << view.header.code_bits);
  view.sums = reader.next<std::int32_t>(view.header.rows);
  reader.find_groups();
  view.entries = reader.next<std::uint16_t>(kFour * view.header.length);
  reader.finish();
  return view;
}

void check_quad(const QuadView& view) {
  check_groups(view, limits_for(view.header.code_bits));
  const std::size_t last_entry = ((view.shape.block_columns + std::size_t{1}) << view.header.code_bits) - 1;
  if (any_past(view.entries, kFour * view.header.length, last_entry)) {
    throw std::invalid_argument("packed weights with an entry outside of its block");
  }
}

}  // namespace dcz
