// Classes of a mask's rows and columns, and groups of their cells, by density.
#include "mask/density_classes.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/log2.hpp"

namespace dcz {
namespace {

// The bits of a group's table and fields, and of a class's part of a table.
constexpr double kGroupBits = 160, kClassBits = 16;
constexpr unsigned kMostClasses = 24, kMostGroups = 24;

const Clustering& fewest_bits(const std::vector<Clustering>& clusterings) {
  return *std::min_element(clusterings.begin(), clusterings.end(),
                           [](const auto& a, const auto& b) { return a.bits < b.bits; });
}

std::vector<Tally> along(std::span<const Tally> finest, std::uint64_t repeat, std::uint64_t period) {
  std::vector<Tally> tallies(static_cast<std::size_t>(period));
  std::size_t i = 0;
  while (i < finest.size()) {
    for (Tally& tally : tallies) {
      for (std::uint64_t k = 0; k < repeat; ++k, ++i) {
        tally.ones += finest[i].ones;
        tally.size += finest[i].size;
      }
    }
  }
  return tallies;
}

// One side of a view: its rows or columns, and the items among which classes are shared out.
struct Side {
  Classes& classes;
  std::vector<std::uint32_t> item;  // of each row or column
  std::vector<double> size;         // rows or columns of each class

  Side(Classes& its, std::span<const std::uint64_t> shape, unsigned first, unsigned end)
      : classes(its), item(static_cast<std::size_t>(extent(shape, first, end))), size(its.count) {
    const std::uint64_t repeat = extent(shape, its.end, end);
    if (its.any()) {
      for (std::size_t i = 0; i < item.size(); ++i) item[i] = static_cast<std::uint32_t>(i / repeat % its.of.size());
    }
    measure();
  }

  std::size_t items() const { return classes.any() ? classes.of.size() : 1; }
  // Of each row or column.
  std::vector<std::uint32_t> class_numbers() const {
    if (!classes.any()) return item;
    std::vector<std::uint32_t> numbers;
    for (const std::uint32_t i : item) numbers.push_back(classes.of[i]);
    return numbers;
  }
  void measure() {
    std::fill(size.begin(), size.end(), 0.0);
    for (const std::uint32_t number : class_numbers()) ++size[number];
  }
};

// Survivors by the numbers of their rows, below `height`, and of their columns, below `width`.
std::vector<std::uint32_t> survivors_by(const Bitmap& mask, std::span<const std::uint32_t> rows, std::size_t height,
                                        std::span<const std::uint32_t> columns, std::size_t width) {
  std::vector<std::uint32_t> counts(height * width);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    std::uint32_t* const to = counts.data() + rows[row] * width;
    const std::uint64_t first = row * columns.size();
    mask.each(first, first + columns.size(), [&](std::uint64_t i) { ++to[columns[i - first]]; });
  }
  return counts;
}

// From survivors of each item to those of each class.
std::vector<std::uint32_t> by_class(const Classes& classes, std::span<const std::uint32_t> counts) {
  const std::size_t width = counts.size() / classes.of.size();
  std::vector<std::uint32_t> cells(classes.count * width);
  for (std::size_t item = 0; item < classes.of.size(); ++item) {
    for (std::size_t o = 0; o < width; ++o) cells[classes.of[item] * width + o] += counts[item * width + o];
  }
  return cells;
}

// Gives each item the class in which its survivors take the fewest bits. `counts` has, for each item, its survivors in
// each class of the other side.
void reassign(Side& side, const Side& other, std::span<const std::uint32_t> counts) {
  const auto cells = by_class(side.classes, counts);
  const std::size_t classes = side.classes.count, width = other.classes.count;
  const auto items = static_cast<double>(side.items());
  std::vector<double> base(classes), one(classes * width);  // bits if all are pruned, and more for each survivor
  const double lines = static_cast<double>(side.item.size()) / items;
  std::vector<double> members(classes);
  for (const auto c : side.classes.of) ++members[c];
  for (std::size_t c = 0; c < classes; ++c) {
    base[c] = portable_log2(items + static_cast<double>(classes)) - portable_log2(members[c] + 1);
    for (std::size_t o = 0; o < width; ++o) {
      const double size = side.size[c] * other.size[o];
      const double density = (cells[c * width + o] + 0.4) / (size + 0.8);
      base[c] -= lines * other.size[o] * portable_log2(1 - density);
      one[c * width + o] = portable_log2(1 - density) - portable_log2(density);
    }
  }
  for (std::size_t item = 0; item < side.items(); ++item) {
    double best = std::numeric_limits<double>::infinity();
    for (std::size_t c = 0; c < classes; ++c) {
      double bits = base[c];
      for (std::size_t o = 0; o < width; ++o) bits += counts[item * width + o] * one[c * width + o];
      if (bits < best) {
        best = bits;
        side.classes.of[item] = static_cast<std::uint8_t>(c);
      }
    }
  }
  side.measure();
}

std::vector<std::uint32_t> turned(std::span<const std::uint32_t> counts, std::size_t rows) {
  const std::size_t columns = counts.size() / rows;
  std::vector<std::uint32_t> result(counts.size());
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) result[c * rows + r] = counts[r * columns + c];
  }
  return result;
}

double class_bits(const Classes& classes) {
  if (!classes.any()) return 0;
  std::vector<double> members(classes.count);
  for (const auto c : classes.of) ++members[c];
  double bits = 24;
  for (const double m : members) {
    if (m > 0) bits += kClassBits + m * portable_log2(static_cast<double>(classes.of.size()) / m);
  }
  return bits;
}

}  // namespace

const Clustering& ClassRange::best() const { return fewest_bits(clusterings); }

Classes ClassRange::classes(std::size_t count) const {
  const Clustering& chosen = clusterings[std::min(count, clusterings.size()) - 1];
  return {first, end, chosen.count, chosen.of};
}

std::vector<ClassRange> class_ranges(const Bitmap& mask, std::span<const std::uint64_t> shape) {
  const auto axes = static_cast<unsigned>(shape.size());
  const std::uint64_t last = shape[axes - 1], rest = extent(shape, 1, axes);
  std::vector<Tally> lines(static_cast<std::size_t>(mask.size() / last));
  for (std::size_t i = 0; i < lines.size(); ++i) lines[i] = {mask.count(i * last, (i + 1) * last), last};
  std::vector<Tally> columns(static_cast<std::size_t>(rest), Tally{0, shape[0]});
  for (std::uint64_t begin = 0; begin < mask.size(); begin += rest) {
    mask.each(begin, begin + rest, [&](std::uint64_t i) { ++columns[i - begin].ones; });
  }
  std::vector<ClassRange> ranges;
  for (unsigned first = 0; first < axes; ++first) {
    for (unsigned end = first + 1; end <= axes; ++end) {
      // An axis of one coordinate adds nothing.
      if (shape[first] == 1 || shape[end - 1] == 1) continue;
      const std::uint64_t items = extent(shape, first, end);
      if (items < 2 || items > 1u << 16 || mask.size() / items < 8) continue;
      const auto tallies = end < axes ? along(lines, extent(shape, end, axes - 1), items) : along(columns, 1, items);
      ranges.push_back({first, end, cluster(tallies, kMostClasses, kClassBits)});
    }
  }
  return ranges;
}

void refine(View& view, const Bitmap& mask, std::span<const std::uint64_t> shape, unsigned rounds) {
  Side rows(view.rows, shape, 0, view.split);
  Side columns(view.columns, shape, view.split, static_cast<unsigned>(shape.size()));
  for (unsigned round = 0; round < rounds; ++round) {
    reassign(rows, columns, survivors_by(mask, rows.item, rows.items(), columns.class_numbers(), view.columns.count));
    const auto by_column = survivors_by(mask, rows.class_numbers(), view.rows.count, columns.item, columns.items());
    reassign(columns, rows, turned(by_column, view.rows.count));
  }
}

double choose_groups(View& view, const Bitmap& mask, std::span<const std::uint64_t> shape) {
  const Side rows(view.rows, shape, 0, view.split);
  const Side columns(view.columns, shape, view.split, static_cast<unsigned>(shape.size()));
  const auto ones =
      survivors_by(mask, rows.class_numbers(), view.rows.count, columns.class_numbers(), view.columns.count);
  std::vector<Tally> cells(ones.size());
  for (std::size_t cell = 0; cell < cells.size(); ++cell) {
    const double size = rows.size[cell / columns.size.size()] * columns.size[cell % columns.size.size()];
    cells[cell] = {ones[cell], static_cast<std::uint64_t>(size)};
  }
  const auto clusterings = cluster(cells, kMostGroups, kGroupBits);
  const Clustering& best = fewest_bits(clusterings);
  view.groups = best.count;
  view.group = best.of;
  return best.bits + class_bits(view.rows) + class_bits(view.columns);
}

}  // namespace dcz
