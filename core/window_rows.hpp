// What the forms `window` and `wide` share: rows sorted by their survivors and taken in groups of 16, and how codebooks
// become digits.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "packed.hpp"
#include "window.hpp"

namespace dcz {

// The rows of a matrix, the one with the most survivors first.
struct SortedRows {
  std::vector<std::uint64_t> before;  // survivors before each row, by its number, and all of them
  std::vector<std::uint32_t> order;
};

SortedRows sort_rows(const Matrix& matrix);

// The survivors of the rows of a group, and how far packing has come with them.
class GroupRows {
 public:
  struct Lane {
    std::vector<std::uint32_t> columns;
    const std::uint8_t* codes;
    std::size_t next;

    bool pending() const { return next < columns.size(); }
  };

  GroupRows(const Matrix& matrix, const SortedRows& rows, std::size_t group);
  // The first column that is not packed yet, or kNoColumn.
  std::uint32_t earliest() const;

  static constexpr std::uint32_t kNoColumn = 0xffffffff;
  std::array<Lane, kGroupRows> lanes{};
};

// Throws std::invalid_argument for digits that do not fit the codebook, or kernels.
void check_digits(const Digits& digits, std::size_t centroids);

using DigitPlanes = std::vector<std::vector<std::int8_t>>;

// Of the grid int8, or nearest to it; with the grid int16 also the low digits and the high ones.
DigitPlanes planes_from(const Digits& digits, std::size_t centroids);

// For each row in order, and those that the last group lacks, the sum of its digits.
std::vector<std::int32_t> row_sums(const Matrix& matrix, const SortedRows& rows, const std::vector<std::int8_t>& plane);

// The row of each lane, kNoRow where the last group lacks one.
std::vector<std::uint32_t> lanes_of(const SortedRows& rows);

// The groups at which `parts` threads of equal work begin.
inline std::size_t first_group(const WindowView& view, std::size_t part, std::size_t parts) {
  if (part == 0) return 0;
  if (part == parts) return view.groups();
  const auto pairs = static_cast<std::uint32_t>(view.pairs() * part / parts);
  return static_cast<std::size_t>(std::lower_bound(view.ends, view.ends + view.groups(), pairs) - view.ends);
}

}  // namespace dcz
