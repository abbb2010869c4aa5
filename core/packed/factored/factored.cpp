// The form `factored`: packing and sections.
#include "packed/factored/factored.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "packed/segments/pack.hpp"

namespace dcz {
namespace {

constexpr SegmentLimits kLimits{Form::factored, kQuartet, kNamedColumns - 1};

// The x of a block stay in the first cache. Fewer blocks leave fewer fours unfilled.
SegmentShape shape_for(const Matrix& matrix) {
  constexpr std::size_t kMostColumns = 8192;
  const auto columns = static_cast<std::size_t>(matrix.columns);
  const std::size_t blocks = std::max<std::size_t>(1, (columns + kMostColumns - 1) / kMostColumns);
  return {static_cast<std::uint32_t>(std::max<std::size_t>(1, (columns + blocks - 1) / blocks)),
          panel_rows_for(matrix.rows, kQuartet), 0};
}

// A row's survivors in this block, by code.
struct Fours {
  std::vector<std::uint16_t> columns;
  std::vector<std::uint8_t> codes;
};

class Packer : public SegmentPacker {
 public:
  explicit Packer(const Matrix& matrix)
      : SegmentPacker(matrix, shape_for(matrix), kLimits),
        nothing_(static_cast<std::uint16_t>(shape().block_columns)),
        fours_(shape().panel_rows),
        by_code_(matrix.codebook.size()) {}

  PageBytes run() {
    pack();
    add_groups();
    add(columns_);
    add(codes_);
    return packed(header());
  }

 private:
  std::size_t turns_of(std::size_t row, const RowSurvivors& survivors, std::size_t first_column) override {
    Fours& fours = fours_[row];
    fours.columns.clear();
    fours.codes.clear();
    for (std::size_t i = 0; i < survivors.columns.size(); ++i) {
      by_code_[survivors.codes[i]].push_back(static_cast<std::uint16_t>(survivors.columns[i] - first_column));
    }
    for (std::size_t code = 0; code < by_code_.size(); ++code) {
      std::vector<std::uint16_t>& found = by_code_[code];
      found.resize(round_up(found.size(), kSharing), nothing_);
      fours.columns.insert(fours.columns.end(), found.begin(), found.end());
      fours.codes.insert(fours.codes.end(), found.size() / kSharing, static_cast<std::uint8_t>(code));
      found.clear();
    }
    return fours.codes.size();
  }

  void add_turns(std::span<const std::uint16_t> quartet, std::size_t turns, std::size_t) override {
    const std::size_t turn = codes_.size() / kQuartet;
    columns_.resize(kTurnColumns * (turn + turns), nothing_);
    codes_.resize(kQuartet * (turn + turns), 0);
    for (std::size_t k = 0; k < quartet.size(); ++k) {
      const Fours& fours = fours_[quartet[k]];
      for (std::size_t i = 0; i < fours.codes.size(); ++i) {
        const std::size_t at = kQuartet * (turn + i) + k;
        std::copy_n(fours.columns.data() + kSharing * i, kSharing, columns_.data() + kSharing * at);
        codes_[at] = fours.codes[i];
      }
    }
  }

  const std::uint16_t nothing_;
  std::vector<Fours> fours_;  // of the rows of this panel
  std::vector<std::vector<std::uint16_t>> by_code_;
  std::vector<std::uint16_t> columns_;
  std::vector<std::uint8_t> codes_;
};

}  // namespace

PageBytes pack_factored(const Matrix& matrix) {
  matrix.check();
  if (!std::all_of(matrix.codebook.begin(), matrix.codebook.end(), [](float c) { return std::isfinite(c); })) {
    throw std::invalid_argument("centroids of the form factored are finite");
  }
  return Packer(matrix).run();
}

FactoredView factored_view(std::span<const std::uint8_t> packed) {
  FactoredView view{};
  SegmentReader reader(packed, kLimits, view);
  reader.find_groups();
  view.columns = reader.next<std::uint16_t>(kTurnColumns * view.header.length);
  view.codes = reader.next<std::uint8_t>(kQuartet * view.header.length);
  reader.finish();
  return view;
}

void check_factored(const FactoredView& view) {
  check_groups(view, kLimits);
  if (any_past(view.columns, kTurnColumns * view.header.length, view.shape.block_columns) ||
      any_past(view.codes, kQuartet * view.header.length, (std::size_t{1} << view.header.code_bits) - 1)) {
    throw std::invalid_argument("packed weights with a four outside of its block or the codebook");
  }
}

}  // namespace dcz
