// The order in which rows are packed: a group has rows with about as many survivors in each part of the columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "packed/packed.hpp"

namespace dcz {

struct RowOrder {
  std::vector<std::uint64_t> before;  // survivors before each row, and all of them
  std::vector<std::uint32_t> order;   // the rows, group by group; only the last may have fewer
};

// A group passes the columns at the pace of its densest row there, and the others have empty slots. Take rows of 4096
// columns with a random 9 % of survivors in the form `window` with one window a pair. Rows ordered by their sums alone
// fill 0.91 of the slots, rows ordered by the sums of four parts 0.94. Groups of about 1024 neighbouring rows follow
// each other.
RowOrder order_rows(const Matrix& matrix, std::size_t group_rows);

}  // namespace dcz
