// The view and the ways to write its sequences that take the fewest bytes.
#include "mask_plan.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "class_search.hpp"

namespace dcz {
namespace {

// How far the search goes: the more survivors, the less of it pays.
struct Effort {
  std::vector<std::size_t> class_counts;
  unsigned rounds;
  std::size_t pairs, compared;
  bool both_orders;
};

Effort effort_for(std::uint64_t survivors) {
  if (survivors < 1u << 17) return {{2, 4, 8, 16, 24}, 6, 2, 4, true};
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
    // A plain view is decoded fastest: for a large mask it may take a little more.
    const std::uint64_t margin = best_ && best_->view.plain() && mask_.size() > 1u << 18 ? best_->bytes / 256 : 0;
    if (!best_ || plan.bytes + margin < best_->bytes) best_ = std::move(plan);
  }

  static View by_columns(View view) {
    view.by_columns = true;
    return view;
  }

  using Estimate = std::pair<double, View>;
  static bool fewer(const Estimate& a, const Estimate& b) { return a.first < b.first; }

  Estimate estimated(View view) const {
    const double bits = choose_groups(view, mask_, shape_);
    return {bits, std::move(view)};
  }

  std::vector<View> views_with_classes() const {
    const std::vector<ClassRange> ranges = class_ranges(mask_, shape_);
    std::vector<Estimate> single;
    std::vector<std::pair<double, std::pair<const ClassRange*, const ClassRange*>>> pairs;
    for (const ClassRange& rows : ranges) {
      if (rows.best().count > 1) {
        View view;
        const bool left = rows.end < axes_;
        view.split = left ? rows.end : rows.first;
        (left ? view.rows : view.columns) = rows.classes(rows.best().count);
        if (fits(view.split)) single.push_back(estimated(std::move(view)));
      }
      for (const ClassRange& columns : ranges) {
        if (rows.end > columns.first || !fits(rows.end)) continue;
        if (rows.best().count == 1 && columns.best().count == 1) continue;
        const double gain =
            rows.clusterings[0].bits - rows.best().bits + columns.clusterings[0].bits - columns.best().bits;
        pairs.push_back({-gain, {&rows, &columns}});
      }
    }
    std::stable_sort(single.begin(), single.end(), fewer);
    std::stable_sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<Estimate> both;
    for (std::size_t i = 0; i < std::min(effort_.pairs, pairs.size()); ++i) {
      for (const std::size_t count : effort_.class_counts) {
        View view;
        view.split = pairs[i].second.first->end;
        view.rows = pairs[i].second.first->classes(count);
        view.columns = pairs[i].second.second->classes(count);
        if (!view.rows.any() || !view.columns.any()) continue;
        refine(view, mask_, shape_, effort_.rounds);
        both.push_back(estimated(std::move(view)));
      }
    }
    std::stable_sort(both.begin(), both.end(), fewer);
    std::vector<View> views;
    for (std::size_t i = 0; i < std::min(effort_.compared, single.size()); ++i) views.push_back(single[i].second);
    for (std::size_t i = 0; i < std::min(effort_.compared, both.size()); ++i) views.push_back(both[i].second);
    return views;
  }

  bool fits(unsigned split) const {
    return extent(shape_, 0, split) <= kMaxLines && extent(shape_, split, axes_) <= kMaxLines;
  }

  static constexpr std::uint64_t kSmall = 1u << 20;
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
