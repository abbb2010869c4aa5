// A mask as sequences of bits: the order of its elements, and classes of its rows and columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bitmap.hpp"
#include "common/shape.hpp"

namespace dcz {

inline constexpr unsigned kMaxClasses = 64;
inline constexpr unsigned kMaxGroups = 64;
// Rows or columns of a matrix with classes: tables of its lines stay small.
inline constexpr std::uint64_t kMaxLines = 1u << 20;

// A class for each coordinate of the axes `first` to `end` - 1.
struct Classes {
  unsigned first = 0, end = 0;
  unsigned count = 1;
  std::vector<std::uint8_t> of;

  bool any() const { return count > 1; }
};

// The tensor as a matrix: its first `split` axes are the rows.
struct View {
  unsigned split = 0;
  bool by_columns = false;
  Classes rows, columns;
  unsigned groups = 1;
  std::vector<std::uint8_t> group{0};  // of row class r and column class c at r * columns.count + c

  bool plain() const { return !by_columns && !rows.any() && !columns.any(); }
};

// A view of one tensor to walk along: line after line, and in each line its inner elements.
struct Lines {
  std::uint64_t outer, inner, outer_stride, inner_stride;
  std::vector<std::uint8_t> outer_class, inner_class;  // empty if there are no classes at all
  unsigned outer_classes, groups;
  std::vector<std::uint8_t> group;  // of outer class a and inner class b at a * inner classes + b

  Lines(const View& view, std::span<const std::uint64_t> shape);
  std::vector<std::uint64_t> group_sizes() const;
};

// The sequences of a mask with its elements in the order of the lines: transposed, if the view is by columns.
std::vector<Bitmap> gather(const Lines& lines, const Bitmap& in_line_order);

// The inverse, but into C order.
void scatter(const Lines& lines, std::span<const Bitmap> sequences, Bitmap& mask);

}  // namespace dcz
