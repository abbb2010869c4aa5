// The survivors of the form `window`, group by group, in the slots of pairs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "packed/row_order.hpp"
#include "packed/window/window.hpp"

namespace dcz {

// Some neighbouring groups: the pairs of each, and what the sections of the same names have of them.
struct WindowGroups {
  std::vector<std::uint32_t> pairs;
  std::vector<std::uint16_t> starts;
  std::vector<std::uint64_t> fifths;
  std::vector<std::uint8_t> stream;
};

// Packs the groups from `first` to `last` - 1. The header needs its layout and the width of its codes.
WindowGroups pack_groups(const PackedHeader& header, const Matrix& matrix, const RowOrder& rows, std::size_t first,
                         std::size_t last);

}  // namespace dcz
