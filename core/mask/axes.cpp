// A mask as sequences of bits: the order of its elements, and classes of its rows and columns.
#include "mask/axes.hpp"

#include <numeric>

namespace dcz {
namespace {

std::vector<std::uint8_t> of_each(const Classes& classes, std::span<const std::uint64_t> shape, unsigned first,
                                  unsigned end) {
  std::vector<std::uint8_t> of(static_cast<std::size_t>(extent(shape, first, end)));
  if (!classes.any()) return of;
  const auto repeat = static_cast<std::size_t>(extent(shape, classes.end, end));
  for (std::size_t i = 0; i < of.size(); ++i) of[i] = classes.of[i / repeat % classes.of.size()];
  return of;
}

// Numbers 0 to n - 1 in the order of their keys; equal keys keep the order of numbers.
struct Sorted {
  std::vector<std::uint32_t> items;
  std::vector<std::uint32_t> rank;   // of each number among those of its key
  std::vector<std::uint64_t> start;  // of each key in `items`, and the end
  std::vector<unsigned> used;        // the keys that any number has

  template <typename Key>
  Sorted(std::size_t n, unsigned keys, Key key) : items(n), rank(n), start(keys + 1) {
    for (std::size_t i = 0; i < n; ++i) ++start[key(i) + 1u];
    std::partial_sum(start.begin(), start.end(), start.begin());
    auto next = start;
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint64_t at = next[key(i)]++;
      items[at] = static_cast<std::uint32_t>(i);
      rank[i] = static_cast<std::uint32_t>(at - start[key(i)]);
    }
    for (unsigned k = 0; k < keys; ++k) {
      if (size(k) > 0) used.push_back(k);
    }
  }

  std::uint64_t size(unsigned key) const { return start[key + 1] - start[key]; }
};

// Calls use(line, group, sorted) for the lines in the order of the format: by class, then by number. `group` has the
// group of each inner class, `sorted` the inner elements by group.
template <typename Use>
void each_line(const Lines& lines, Use use) {
  const Sorted outer(lines.outer_class.size(), lines.outer_classes,
                     [&](std::size_t i) { return lines.outer_class[i]; });
  for (unsigned outer_class = 0; outer_class < lines.outer_classes; ++outer_class) {
    if (outer.size(outer_class) == 0) continue;
    const std::uint8_t* const group = lines.group.data() + outer_class * (lines.group.size() / lines.outer_classes);
    const Sorted inner(lines.inner_class.size(), lines.groups,
                       [&](std::size_t i) { return group[lines.inner_class[i]]; });
    for (std::uint64_t i = outer.start[outer_class]; i < outer.start[outer_class + 1]; ++i) {
      use(outer.items[i], group, inner);
    }
  }
}

}  // namespace

Lines::Lines(const View& view, std::span<const std::uint64_t> shape)
    : outer_classes(view.rows.count), groups(view.groups), group(view.group) {
  const auto axes = static_cast<unsigned>(shape.size());
  outer = extent(shape, 0, view.split);
  inner = extent(shape, view.split, axes);
  outer_stride = inner;
  inner_stride = 1;
  if (view.rows.any() || view.columns.any()) {
    outer_class = of_each(view.rows, shape, 0, view.split);
    inner_class = of_each(view.columns, shape, view.split, axes);
  }
  if (view.by_columns) {
    std::swap(outer, inner);
    std::swap(outer_stride, inner_stride);
    std::swap(outer_class, inner_class);
    outer_classes = view.columns.count;
    for (unsigned r = 0; r < view.rows.count; ++r) {
      for (unsigned c = 0; c < view.columns.count; ++c) {
        group[c * view.rows.count + r] = view.group[r * view.columns.count + c];
      }
    }
  }
}

std::vector<std::uint64_t> Lines::group_sizes() const {
  if (outer_class.empty()) return {outer * inner};
  std::vector<std::uint64_t> sizes(groups);
  each_line(*this, [&](std::uint64_t, const std::uint8_t*, const Sorted& sorted) {
    for (const unsigned g : sorted.used) sizes[g] += sorted.size(g);
  });
  return sizes;
}

std::vector<Bitmap> gather(const Lines& lines, const Bitmap& in_line_order) {
  if (lines.outer_class.empty()) return {in_line_order};
  std::vector<Bitmap> sequences;
  for (const std::uint64_t size : lines.group_sizes()) sequences.emplace_back(size);
  std::vector<std::uint64_t> begin(lines.groups);
  each_line(lines, [&](std::uint64_t line, const std::uint8_t* group, const Sorted& sorted) {
    const std::uint64_t first = line * lines.inner;
    in_line_order.each(first, first + lines.inner, [&](std::uint64_t i) {
      const unsigned g = group[lines.inner_class[i - first]];
      sequences[g].set(begin[g] + sorted.rank[i - first]);
    });
    for (const unsigned g : sorted.used) begin[g] += sorted.size(g);
  });
  return sequences;
}

void scatter(const Lines& lines, std::span<const Bitmap> sequences, Bitmap& mask) {
  if (lines.outer_class.empty()) {
    for (std::uint64_t line = 0; line < lines.outer; ++line) {
      const std::uint64_t first = line * lines.inner, corner = line * lines.outer_stride;
      sequences[0].each(first, first + lines.inner,
                        [&](std::uint64_t i) { mask.set(corner + (i - first) * lines.inner_stride); });
    }
    return;
  }
  std::vector<std::uint64_t> begin(lines.groups);
  each_line(lines, [&](std::uint64_t line, const std::uint8_t*, const Sorted& sorted) {
    const std::uint64_t corner = line * lines.outer_stride;
    for (const unsigned g : sorted.used) {
      const std::uint32_t* const inner = sorted.items.data() + sorted.start[g];
      const std::uint64_t first = begin[g];
      begin[g] += sorted.size(g);
      sequences[g].each(first, begin[g],
                        [&](std::uint64_t i) { mask.set(corner + inner[i - first] * lines.inner_stride); });
    }
  });
}

}  // namespace dcz
