// The view and the ways to write its sequences that take the fewest bytes.
#include "mask_plan.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "cluster.hpp"

namespace dcz {
namespace {

// What a group's table and fields, and a class's share of such, take.
constexpr double kGroupBits = 160, kClassBits = 16;
constexpr unsigned kSearchedClasses = 16, kSearchedGroups = 16;

// Counts of survivors along axes `first` to `end` - 1, with the classes that suit them.
struct Range {
  unsigned first, end;
  std::vector<Clustering> clusterings;
  double gain;  // bits, by the best of them alone

  const Clustering& best() const {
    return *std::min_element(clusterings.begin(), clusterings.end(),
                             [](const auto& a, const auto& b) { return a.bits < b.bits; });
  }
};

std::vector<Tally> along(std::span<const Tally> finest, std::uint64_t repeat, std::uint64_t period) {
  std::vector<Tally> tallies(static_cast<std::size_t>(period));
  for (std::size_t i = 0; i < finest.size(); ++i) {
    Tally& tally = tallies[i / repeat % period];
    tally.ones += finest[i].ones;
    tally.size += finest[i].size;
  }
  return tallies;
}

class Planner {
 public:
  Planner(const Bitmap& mask, std::span<const std::uint64_t> shape)
      : mask_(mask), shape_(shape), axes_(static_cast<unsigned>(shape.size())) {
    if (axes_ > 2) kernel_ = extent(shape, 2, axes_);
  }

  MaskPlan plan() {
    consider(View{});
    if (axes_ < 2 || best_->bytes < 16) return std::move(*best_);
    std::vector<View> views = class_views();
    for (const View& view : views) consider(view);
    const View found = best_->view;
    if (!found.plain()) {
      View turned = found;
      turned.by_columns = true;
      consider(turned);
    }
    for (unsigned split = 1; split < axes_; ++split) {
      View view;
      view.split = split;
      view.by_columns = true;
      consider(view);
    }
    return std::move(*best_);
  }

 private:
  // Keeps the view if it is the best so far.
  void consider(const View& view) {
    MaskPlan plan{view, {}, {}, view_bytes(view).size()};
    const Lines lines(view, shape_);
    if (view.by_columns) {
      plan.sequences = gather(lines, transposed(mask_, lines.inner, lines.outer));
    } else {
      plan.sequences = gather(lines, mask_);
    }
    for (const Bitmap& sequence : plan.sequences) {
      plan.plans.push_back(plan_sequence(sequence, kernel_));
      plan.bytes += plan.plans.back().bytes;
    }
    if (!best_ || plan.bytes < best_->bytes) best_ = std::move(plan);
  }

  std::vector<Range> ranges() const {
    const std::uint64_t last = shape_[axes_ - 1], rest = extent(shape_, 1, axes_);
    std::vector<Tally> lines(static_cast<std::size_t>(mask_.size() / last));
    for (std::size_t i = 0; i < lines.size(); ++i) lines[i] = {mask_.count(i * last, (i + 1) * last), last};
    std::vector<Tally> columns(static_cast<std::size_t>(rest), Tally{0, shape_[0]});
    for (std::uint64_t begin = 0; begin < mask_.size(); begin += rest) {
      mask_.each(begin, begin + rest, [&](std::uint64_t i) { ++columns[i - begin].ones; });
    }
    std::vector<Range> result;
    for (unsigned first = 0; first < axes_; ++first) {
      for (unsigned end = first + 1; end <= axes_; ++end) {
        if (first == 0 && end == axes_) continue;
        const std::uint64_t period = extent(shape_, first, end);
        if (period < 2 || period > kMaxLines || mask_.size() / period < 8) continue;
        const auto tallies =
            end < axes_ ? along(lines, extent(shape_, end, axes_ - 1), period) : along(columns, 1, period);
        Range range{first, end, cluster(tallies, kSearchedClasses, kClassBits), 0};
        range.gain = range.clusterings[0].bits - range.best().bits;
        if (range.gain > 0) result.push_back(std::move(range));
      }
    }
    return result;
  }

  std::vector<View> class_views() const {
    const std::vector<Range> all = ranges();
    std::vector<std::pair<double, View>> found;
    const auto add = [&](unsigned split, const Range* rows, const Range* columns) {
      View view;
      view.split = split;
      if (rows) view.rows = {rows->first, rows->end, rows->best().count, rows->best().of};
      if (columns) view.columns = {columns->first, columns->end, columns->best().count, columns->best().of};
      if (extent(shape_, 0, split) > kMaxLines || extent(shape_, split, axes_) > kMaxLines) return;
      found.emplace_back(fill_groups(view), std::move(view));
    };
    for (const Range& a : all) {
      if (a.end < axes_) {
        add(a.end, &a, nullptr);
      } else {
        add(a.first, nullptr, &a);
      }
      for (const Range& b : all) {
        if (a.end <= b.first) add(a.end, &a, &b);
      }
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<View> views;
    for (auto& [bits, view] : found) {
      if (views.size() == 3) break;
      if (bits < entropy_bits({mask_.count(), mask_.size()})) views.push_back(std::move(view));
    }
    return views;
  }

  // Chooses the groups of the view's cells; the estimate of all bits.
  double fill_groups(View& view) const {
    std::vector<Tally> cells(std::size_t{view.rows.count} * view.columns.count);
    view.groups = static_cast<unsigned>(cells.size());
    view.group.resize(cells.size());
    const Lines lines(view, shape_);
    std::vector<std::uint64_t> inner_sizes(view.columns.count);
    for (const auto c : lines.inner_class) ++inner_sizes[c];
    for (std::uint64_t line = 0; line < lines.outer; ++line) {
      Tally* const row = cells.data() + lines.outer_class[line] * view.columns.count;
      for (unsigned c = 0; c < view.columns.count; ++c) row[c].size += inner_sizes[c];
      const std::uint64_t first = line * lines.inner;
      mask_.each(first, first + lines.inner, [&](std::uint64_t i) { ++row[lines.inner_class[i - first]].ones; });
    }
    const auto clusterings = cluster(cells, kSearchedGroups, kGroupBits);
    const auto& best = *std::min_element(clusterings.begin(), clusterings.end(),
                                         [](const auto& a, const auto& b) { return a.bits < b.bits; });
    view.groups = best.count;
    view.group = best.of;
    return best.bits + class_bits(view.rows) + class_bits(view.columns);
  }

  static double class_bits(const Classes& classes) {
    if (!classes.any()) return 0;
    std::vector<Tally> tallies(classes.count);
    for (const auto c : classes.of) ++tallies[c].ones;
    double bits = kClassBits * classes.count + 24;
    for (auto& tally : tallies) {
      tally.size = classes.of.size();
      if (tally.ones > 0) {
        bits += entropy_bits(tally) - entropy_bits({tally.size - tally.ones, tally.size}) * 0;
      }
    }
    return bits;
  }

  const Bitmap& mask_;
  std::span<const std::uint64_t> shape_;
  unsigned axes_;
  std::uint64_t kernel_ = 0;
  std::optional<MaskPlan> best_;
};

}  // namespace

MaskPlan plan_mask(const Bitmap& mask, std::span<const std::uint64_t> shape) { return Planner(mask, shape).plan(); }

}  // namespace dcz
