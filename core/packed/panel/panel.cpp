// The form `panel`: packing and sections.
#include "packed/panel/panel.hpp"

#include <algorithm>
#include <stdexcept>

#include "packed/segments/pack.hpp"

namespace dcz {
namespace {

constexpr SegmentLimits kLimits{Form::panel, kQuartet, kMostBlockColumns};

// Prepared for 64 vectors, blocks of 144 columns leave the first cache room for sums and entries. Where few weights
// survive, wider blocks in the second cache cost less: sums are fetched less often.
SegmentShape shape_for(const Matrix& matrix) {
  constexpr std::size_t kNarrow = 144, kWide = 240, kEnoughInARow = 13;
  const auto rows = static_cast<std::size_t>(matrix.rows);
  const std::size_t survivors = std::max<std::size_t>(matrix.codes.size(), 1);
  const std::size_t columns = round_up(kEnoughInARow * rows * static_cast<std::size_t>(matrix.columns) / survivors, 16);
  return {static_cast<std::uint32_t>(std::clamp(columns, kNarrow, kWide)), panel_rows_for(matrix.rows, 16), 0};
}

class Packer : public SegmentPacker {
 public:
  explicit Packer(const Matrix& matrix)
      : SegmentPacker(matrix, shape_for(matrix), kLimits),
        padding_(static_cast<std::uint16_t>(shape().block_columns << 8 | finite_code(matrix))) {}

  PageBytes run() {
    pack();
    add_groups();
    add(entries_);
    return packed(header());
  }

 private:
  std::size_t turns_of(std::size_t, const RowSurvivors& survivors, std::size_t) override {
    return survivors.columns.size();
  }

  void add_turns(std::span<const std::uint16_t> quartet, std::size_t turns, std::size_t first_column) override {
    const std::size_t at = entries_.size();
    entries_.resize(at + kQuartet * turns, padding_);
    for (std::size_t k = 0; k < quartet.size(); ++k) {
      const RowSurvivors& row = survivors(quartet[k]);
      for (std::size_t i = 0; i < row.columns.size(); ++i) {
        entries_[at + kQuartet * i + k] =
            static_cast<std::uint16_t>((row.columns[i] - first_column) << 8 | row.codes[i]);
      }
    }
  }

  const std::uint16_t padding_;
  std::vector<std::uint16_t> entries_;
};

}  // namespace

PageBytes pack_panel(const Matrix& matrix) {
  matrix.check();
  return Packer(matrix).run();
}

PanelView panel_view(std::span<const std::uint8_t> packed) {
  PanelView view{};
  SegmentReader reader(packed, kLimits, view);
  reader.find_groups();
  view.entries = reader.next<std::uint16_t>(kQuartet * view.header.length);
  reader.finish();
  return view;
}

void check_panel(const PanelView& view) {
  check_groups(view, kLimits);
  for (std::size_t i = 0; i < kQuartet * view.header.length; ++i) {
    const std::uint16_t entry = view.entries[i];
    if (entry >> 8 > view.shape.block_columns || (entry & 0xff) >> view.header.code_bits != 0) {
      throw std::invalid_argument("packed weights with an entry outside of its block or the codebook");
    }
  }
}

}  // namespace dcz
