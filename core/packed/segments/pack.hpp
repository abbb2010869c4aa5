// Packing rows into segments, for the forms `panel`, `quad` and `factored`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bitmap.hpp"
#include "packed/segments/segments.hpp"

namespace dcz {

// Rows of a panel, in multiples of `unit`, for so many rows in all: the more, the more often a prepared block is used
// and the more rows have as many turns, but their sums are to stay in the second cache; a second thread wants two
// panels.
std::uint32_t panel_rows_for(std::uint64_t rows, std::size_t unit);

// The code of a finite centroid, which times zero is zero; only a codebook of 16, 32 or 256 centroids without a finite
// one has none.
std::uint16_t finite_code(const Matrix& matrix);

// The survivors of a row in a block: their columns, counted from that of the matrix, and codes.
struct RowSurvivors {
  std::span<const std::uint32_t> columns;
  const std::uint8_t* codes;
};

// Packs panel by panel, block by block. A form says how many turns a row needs, and adds them group by group.
class SegmentPacker {
 public:
  SegmentPacker(const Matrix& matrix, const SegmentShape& shape, const SegmentLimits& limits);
  virtual ~SegmentPacker() = default;
  SegmentPacker(const SegmentPacker&) = delete;
  SegmentPacker& operator=(const SegmentPacker&) = delete;

 protected:
  // What may lie in the block that begins with `first_column`. `row` counts from the panel's first.
  virtual std::size_t turns_of(std::size_t row, const RowSurvivors& survivors, std::size_t first_column) = 0;
  // At least one row, and as many turns as the first one needs.
  virtual void add_turns(std::span<const std::uint16_t> group, std::size_t turns, std::size_t first_column) = 0;

  void pack();

  const SegmentShape& shape() const { return shape_; }
  std::size_t first_row() const { return first_row_; }  // of the panel at hand
  const RowSurvivors& survivors(std::size_t row) const { return found_[row]; }

  PackedHeader& header() { return header_; }

  // The sections in their order, then `packed`. What they hold must stay until then.
  template <typename T>
  void add_section(std::span<const T> values, std::size_t count) {
    parts_.push_back(
        {reinterpret_cast<const std::uint8_t*>(values.data()), values.size_bytes(), sections_.next(sizeof(T) * count)});
  }
  template <typename T>
  void add_section(const std::vector<T>& values) {
    add_section(std::span<const T>(values), values.size());
  }
  void add_shape_and_codebook();
  void add_groups();
  std::vector<std::uint8_t> packed();

 private:
  struct Row {
    std::vector<std::uint32_t> columns;
    const std::uint8_t* codes;
    std::size_t end;  // of those in the blocks up to the one at hand
  };
  struct Part {
    const std::uint8_t* data;
    std::size_t bytes, at;
  };

  void add_panel(std::size_t panel);
  void add_segment(std::size_t block);

  const Matrix& matrix_;
  SegmentShape shape_;
  const SegmentLimits limits_;
  const Bitmap bitmap_;
  PackedHeader header_{};
  std::size_t first_row_ = 0;
  std::uint64_t survivors_ = 0;  // before the panel at hand
  std::vector<Row> panel_;
  std::vector<RowSurvivors> found_;
  std::vector<std::size_t> needed_;
  std::vector<std::uint16_t> order_;

  std::vector<SegmentEnd> ends_;
  std::vector<std::uint16_t> rows_, turns_;
  Sections sections_;
  std::vector<Part> parts_;
};

}  // namespace dcz
