// The view and the kinds of its sequences that take the fewest bytes.
#include "mask/plan.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "mask/density_classes.hpp"

namespace dcz {
namespace {

// The extent of the search: the more survivors, the less of it pays.
struct Effort {
  std::vector<std::size_t> class_counts;
  unsigned rounds;
  std::size_t pairs, compared;
  bool both_orders;
};

Effort effort_for(std::uint64_t survivors) {
  if (survivors < 1u << 17) return {{2, 4, 8, 16, 24}, 8, 2, 4, true};
  if (survivors < 1u << 20) return {{6, 16}, 4, 1, 2, false};
  return {{16}, 3, 1, 1, false};
}

class Planner {
 public:
  Planner(const Bitmap& mask, std::span<const std::uint64_t> shape)
      : mask_(mask), shape_(shape), axes_(static_cast<unsigned>(shape.size())) {
    if (axes_ > 2) kernel_ = extent(shape, 2, axes_);
    effort_ = effort_for(mask.count());
  }

  MaskPlan plan() {
    consider(View{});
    if (axes_ < 2 || best_->bytes < 16) return std::move(*best_);
    for (const View& view : views_with_classes()) {
      consider(view);
      if (effort_.both_orders) consider(by_columns(view));
    }
    if (!best_->view.plain()) consider(by_columns(best_->view));
    for (unsigned split = 1; split < axes_; ++split) {
      if (shape_[split - 1] == 1 || extent(shape_, 0, split) == 1 || extent(shape_, split, axes_) == 1) continue;
      View view;
      view.split = split;
      consider(by_columns(view));
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
    // A plain view decodes fastest: for a large mask it may take a little more.
    const std::uint64_t margin = best_ && best_->view.plain() && mask_.size() > 1u << 18 ? best_->bytes / 256 : 0;
    if (!best_ || plan.bytes + margin < best_->bytes) best_ = std::move(plan);
  }

  static View by_columns(View view) {
    view.by_columns = true;
    return view;
  }

  using Estimate = std::pair<double, View>;
  static bool fewer(const Estimate& a, const Estimate& b) { return a.first < b.first; }

  // Classes of one group alone are of no use.
  void add(std::vector<Estimate>& estimates, View view) const {
    const double bits = choose_groups(view, mask_, shape_);
    if (view.groups > 1) estimates.emplace_back(bits, std::move(view));
  }

  // The views with the fewest estimated bits. Estimates know densities alone. So a few classes of one side, which keep
  // neighbours together, are worth trying too.
  std::vector<View> views_with_classes() const {
    const std::vector<ClassRange> ranges = class_ranges(mask_, shape_);
    std::vector<Estimate> one, both;
    for (const ClassRange& range : ranges) add_one_sided(one, range);
    for (const auto& [rows, columns] : best_pairs(ranges)) add_two_sided(both, *rows, *columns);
    std::vector<View> views;
    for (auto* estimates : {&one, &both}) {
      std::stable_sort(estimates->begin(), estimates->end(), fewer);
      for (std::size_t i = 0; i < std::min(effort_.compared, estimates->size()); ++i) {
        views.push_back(std::move((*estimates)[i].second));
      }
    }
    return views;
  }

  void add_one_sided(std::vector<Estimate>& estimates, const ClassRange& range) const {
    const bool rows = range.end < axes_;
    const unsigned split = rows ? range.end : range.first;
    const std::size_t best = range.best().count;
    if (best == 1 || !fits(split)) return;
    for (const std::size_t count : {best, best / 2, best / 4}) {
      if (count < 2 || (count < best && !effort_.both_orders)) continue;
      View view;
      view.split = split;
      (rows ? view.rows : view.columns) = range.classes(count);
      add(estimates, std::move(view));
    }
  }

  using Pair = std::pair<const ClassRange*, const ClassRange*>;

  // The rows and columns whose classes gain most, each side alone.
  std::vector<Pair> best_pairs(std::span<const ClassRange> ranges) const {
    std::vector<std::pair<double, Pair>> found;
    for (const ClassRange& rows : ranges) {
      for (const ClassRange& columns : ranges) {
        const double gain = rows.gain() + columns.gain();
        if (rows.end <= columns.first && fits(rows.end) && gain > 0) found.push_back({gain, {&rows, &columns}});
      }
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    std::vector<Pair> pairs;
    for (std::size_t i = 0; i < std::min(effort_.pairs, found.size()); ++i) pairs.push_back(found[i].second);
    return pairs;
  }

  void add_two_sided(std::vector<Estimate>& estimates, const ClassRange& rows, const ClassRange& columns) const {
    for (const std::size_t count : effort_.class_counts) {
      View view;
      view.split = rows.end;
      view.rows = rows.classes(count);
      view.columns = columns.classes(count);
      if (!view.rows.any() || !view.columns.any()) continue;
      refine(view, mask_, shape_, effort_.rounds);
      add(estimates, std::move(view));
    }
  }

  bool fits(unsigned split) const {
    return extent(shape_, 0, split) <= kMaxLines && extent(shape_, split, axes_) <= kMaxLines;
  }

  const Bitmap& mask_;
  std::span<const std::uint64_t> shape_;
  unsigned axes_;
  std::uint64_t kernel_ = 0;
  Effort effort_;
  std::optional<MaskPlan> best_;
};

}  // namespace

MaskPlan plan_mask(const Bitmap& mask, std::span<const std::uint64_t> shape) { return Planner(mask, shape).plan(); }

}  // namespace dcz
