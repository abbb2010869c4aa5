// What the forms `window` and `wide` share: how a group of rows is packed, and how codebooks become digits.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "packed/packed.hpp"
#include "packed/row_order.hpp"
#include "packed/window/window.hpp"

namespace dcz {

// The survivors of the rows of a group, and how far packing has come with them.
class GroupRows {
 public:
  struct Lane {
    std::vector<std::uint32_t> columns;
    const std::uint8_t* codes;
    std::size_t next;

    bool pending() const { return next < columns.size(); }
  };

  GroupRows(const Matrix& matrix, const RowOrder& rows, std::size_t group_rows, std::size_t group);
  // The first column that is not packed yet, or kNoColumn.
  std::uint32_t earliest() const;

  static constexpr std::uint32_t kNoColumn = 0xffffffff;
  std::vector<Lane> lanes;
};

// Throws std::invalid_argument for digits that do not fit the codebook, or kernels.
void check_digits(const Digits& digits, std::size_t centroids);

using DigitPlanes = std::vector<std::vector<std::int8_t>>;

// Of the grid int8, or nearest to it; with the grid int16 also the low digits and the high ones.
DigitPlanes planes_from(const Digits& digits, std::size_t centroids);

// For each row in order, and those that the last group lacks, the sum of its digits.
std::vector<std::int32_t> row_sums(const Matrix& matrix, const RowOrder& rows, const std::vector<std::int8_t>& plane,
                                   std::size_t group_rows);

// The row of each lane, kNoRow where the last group lacks one.
std::vector<std::uint32_t> lanes_of(const RowOrder& rows, std::size_t group_rows);

// The groups at which `parts` threads of equal work begin.
inline std::size_t first_group(const WindowView& view, std::size_t part, std::size_t parts) {
  if (part == 0) return 0;
  if (part == parts) return view.groups();
  const auto pairs = static_cast<std::uint32_t>(view.pairs() * part / parts);
  return static_cast<std::size_t>(std::lower_bound(view.ends, view.ends + view.groups(), pairs) - view.ends);
}

}  // namespace dcz
