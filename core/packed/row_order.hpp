// Which rows of a matrix are packed together: those whose survivors are about as many, in each part of the columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "packed/packed.hpp"

namespace dcz {

struct RowOrder {
  std::vector<std::uint64_t> before;  // survivors before each row, by its number, and all of them
  std::vector<std::uint32_t> order;   // the rows, group by group; only the last may have fewer
};

// A group goes through the columns as fast as the densest of its rows there, so that the others have slots with
// nothing. By their sums alone, rows of 4096 columns, a random 9 % of which survive, fill 0.91 of the slots of the form
// `window` with one window a pair; by the sums of four parts 0.94.
RowOrder order_rows(const Matrix& matrix, std::size_t group_rows);

}  // namespace dcz
