// Packing rows into segments, for the forms `panel`, `quad` and `factored`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bitmap.hpp"
#include "packed/segments/segments.hpp"

namespace dcz {

// Rows of a panel, a multiple of `unit`, for so many rows in all. More rows use a prepared block more often, and more
// of them have as many turns. But their sums must stay in the second cache, and threads that help each other want some.
std::uint32_t panel_rows_for(std::uint64_t rows, std::size_t unit);

// The code of a finite centroid, which times zero is zero. 0 for a codebook of 16, 32 or 256 centroids without one.
std::uint16_t finite_code(const Matrix& matrix);

// The survivors of a row in a block: their columns in the matrix, and their codes.
struct RowSurvivors {
  std::span<const std::uint32_t> columns;
  const std::uint8_t* codes;
};

// Packs panel by panel, block by block. A form computes how many turns a row needs, and adds them group by group.
class SegmentPacker : protected SectionWriter {
 public:
  SegmentPacker(const Matrix& matrix, const SegmentShape& shape, const SegmentLimits& limits);
  virtual ~SegmentPacker() = default;
  SegmentPacker(const SegmentPacker&) = delete;
  SegmentPacker& operator=(const SegmentPacker&) = delete;

 protected:
  // The turns for a row's survivors in the block that begins at `first_column`. `row` counts from the panel's first.
  virtual std::size_t turns_of(std::size_t row, const RowSurvivors& survivors, std::size_t first_column) = 0;
  // Adds a group of at least one row. The first row needs all of the turns.
  virtual void add_turns(std::span<const std::uint16_t> group, std::size_t turns, std::size_t first_column) = 0;

  // Packs all panels, and adds shape and codebook.
  void pack();

  const SegmentShape& shape() const { return shape_; }
  std::size_t first_row() const { return first_row_; }  // of this panel
  const RowSurvivors& survivors(std::size_t row) const { return found_[row]; }

  PackedHeader& header() { return header_; }

  void add_groups();

 private:
  struct Row {
    std::vector<std::uint32_t> columns;
    const std::uint8_t* codes;
    std::size_t end;  // of the survivors in the blocks up to this one
  };

  void add_panel(std::size_t panel);
  void add_segment(std::size_t block);

  const Matrix& matrix_;
  SegmentShape shape_;
  const SegmentLimits limits_;
  const Bitmap bitmap_;
  PackedHeader header_;
  std::size_t first_row_ = 0;
  std::uint64_t survivors_ = 0;  // before this panel
  std::vector<Row> panel_;
  std::vector<RowSurvivors> found_;
  std::vector<std::size_t> needed_;
  std::vector<std::uint16_t> order_;

  std::vector<SegmentEnd> ends_;
  std::vector<std::uint16_t> rows_, turns_;
};

}  // namespace dcz
