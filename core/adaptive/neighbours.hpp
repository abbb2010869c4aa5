// The place of a weight in its tensor, and a summary of the weights around it. docs/format.md, "Neighbourhood".
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

#include "common/shape.hpp"

namespace dcz {

inline constexpr std::uint64_t kMaxRow = 65536, kMaxKernel = 64;

// "A tensor is seen as rows, a row as kernels, a kernel as lines." All but convolutions have kernels of one element.
struct Grid {
  std::uint64_t size, row = 1, kernel = 1, line = 1;

  explicit Grid(std::span<const std::uint64_t> shape) : size(extent(shape)) {
    if (size == 0) return;
    row = shape.size() < 2 ? size : size / shape[0];
    if (shape.size() < 2 || row > kMaxRow) {
      row = std::min(size, kMaxRow);
      return;
    }
    std::uint64_t elements = 1, last = 1;
    for (const auto axis : shape.subspan(2)) {
      elements *= axis;
      if (axis > 1) last = axis;
    }
    if (elements <= kMaxKernel) {
      kernel = elements;
      line = last;
    }
  }

  bool matrix() const { return kernel == 1; }
};

// A weight's number in its row, in its kernel, and in the kernel's line.
struct Place {
  std::size_t in_row = 0, in_kernel = 0, in_line = 0;
};

inline constexpr int kLevels = 14, kSignedLevels = 2 * kLevels - 1;

// For sizes below 640: two levels for each factor of two.
inline constexpr auto kLevelOf = [] {
  constexpr std::array<int, kLevels> first = {0, 1, 3, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192};
  std::array<std::uint8_t, 640> table{};
  for (const int start : first) {
    for (auto i = static_cast<std::size_t>(start); start > 0 && i < table.size(); ++i) ++table[i];
  }
  return table;
}();

inline unsigned level(int size) { return kLevelOf[static_cast<std::size_t>(size)]; }

// Tables, since half of all branches on a sign would be mispredicted.
inline constexpr auto kSignedLevelOf = [] {
  std::array<std::uint8_t, 2 * kLevelOf.size() - 1> table{};
  for (std::size_t i = 0; i < kLevelOf.size(); ++i) {
    table[kLevelOf.size() - 1 + i] = static_cast<std::uint8_t>(kLevels - 1 + kLevelOf[i]);
    table[kLevelOf.size() - 1 - i] = static_cast<std::uint8_t>(kLevels - 1 - kLevelOf[i]);
  }
  return table;
}();

inline unsigned signed_level(int size) {
  return kSignedLevelOf[static_cast<std::size_t>(size + static_cast<int>(kLevelOf.size()) - 1)];
}

inline unsigned three(int size) { return static_cast<unsigned>((size > 0) - (size < 0) + 1); }

// Strong and weak ones of either sign, and none.
inline unsigned five(int size) { return static_cast<unsigned>((size >= -24) + (size >= 0) + (size > 0) + (size > 24)); }

// The signed sizes of the weights next to one; 0 for pruned ones, ones not yet coded, and places outside.
struct Around {
  int west = 0, west2 = 0, north = 0, north2 = 0, northwest = 0;

  int pull() const { return west + north - (northwest >> 1); }
  unsigned signs() const {
    return three(west) + 3 * three(north) + 9 * three(west2) + 27 * three(north2) + 81 * three(northwest);
  }
  unsigned strengths() const { return five(west) + 5 * five(north) + 25 * five(west2) + 125 * three(northwest); }
};

// Around the weight at `here`; `above` is the same place in the previous row. Two zeros lie before each row.
template <bool kMatrix>
Around around(const Grid& grid, const std::int8_t* here, const std::int8_t* above, const Place& at) {
  if (kMatrix) return {here[-1], here[-2], above[0], 0, above[-1]};
  const auto line = static_cast<std::ptrdiff_t>(grid.line);
  Around found;
  if (at.in_line > 0) found.west = here[-1];
  if (at.in_line > 1) found.west2 = here[-2];
  if (grid.line == grid.kernel) {
    found.north = above[0];
    found.northwest = above[-1];
    return found;
  }
  if (at.in_kernel >= grid.line) found.north = here[-line];
  if (at.in_kernel >= 2 * grid.line) found.north2 = here[-2 * line];
  if (at.in_kernel >= grid.line && at.in_line > 0) found.northwest = here[-line - 1];
  return found;
}

}  // namespace dcz
