// One-dimensional k-means: Lloyd, the optimum, and nearest centroids. The paper's section 3.
//
// It uses only +, -, *, / and comparisons of IEEE doubles: every machine computes the same centroids.
#include "sharing/kmeans.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace dcz {
namespace {

void check_ascending(std::span<const float> values, const char* name) {
  float previous = -std::numeric_limits<float>::max();
  for (const float value : values) {
    if (!(value >= previous && value <= std::numeric_limits<float>::max())) {
      throw std::invalid_argument(std::string(name) + " must be finite and ascending");
    }
    previous = value;
  }
}

void check_k(std::size_t k) {
  if (k < 1 || k > kMaxCentroids) {
    throw std::invalid_argument(std::to_string(k) + " centroids, expected 1 to " + std::to_string(kMaxCentroids));
  }
}

[[noreturn]] void refuse_few_values(std::size_t k) {
  throw std::invalid_argument(std::to_string(k) + " centroids need at least as many distinct values");
}

void check_weights(std::span<const float> values, std::span<const std::uint64_t> weights) {
  if (weights.empty()) return;
  if (weights.size() != values.size()) throw std::invalid_argument("there is not one weight for each value");
  if (std::ranges::count(weights, 0u) > 0) throw std::invalid_argument("weights are from 1 on");
}

double middle(float a, float b) { return (double{a} + double{b}) / 2; }

// Sums of ranges, from a pyramid of sums over 16, 32, 64 ... values. Unlike a difference of prefix sums, a sum of small
// values loses nothing to large ones elsewhere. Weights are counted exactly.
class RangeSums {
 public:
  RangeSums(std::span<const float> values, std::span<const std::uint64_t> weights)
      : values_(values), weights_(weights) {
    std::vector<double> level(values.size() / kBlock);
    for (std::size_t i = 0; i < level.size(); ++i) {
      for (std::size_t j = 0; j < kBlock; ++j) level[i] += at(i * kBlock + j);
    }
    if (!weights.empty()) before_.push_back(0);
    for (const std::uint64_t weight : weights) before_.push_back(before_.back() + weight);
    while (!level.empty()) {
      std::vector<double> next(level.size() / 2);
      for (std::size_t i = 0; i < next.size(); ++i) next[i] = level[2 * i] + level[2 * i + 1];
      levels_.push_back(std::move(level));
      level = std::move(next);
    }
  }

  double sum(std::size_t first, std::size_t last) const {
    double total = 0;
    while (first < last && first % kBlock != 0) total += at(first++);
    while (first < last && last % kBlock != 0) total += at(--last);
    first /= kBlock;
    last /= kBlock;
    for (auto level = levels_.begin(); first < last; ++level) {
      if (first % 2 == 1) total += (*level)[first++];
      if (last % 2 == 1) total += (*level)[--last];
      first /= 2;
      last /= 2;
    }
    return total;
  }

  double weight(std::size_t first, std::size_t last) const {
    return static_cast<double>(before_.empty() ? last - first : before_[last] - before_[first]);
  }

 private:
  static constexpr std::size_t kBlock = 16;
  double at(std::size_t i) const {
    return weights_.empty() ? double{values_[i]} : static_cast<double>(weights_[i]) * values_[i];
  }

  std::span<const float> values_;
  std::span<const std::uint64_t> weights_;
  std::vector<std::uint64_t> before_;
  std::vector<std::vector<double>> levels_;
};

// The number of values in `ordered` not above `bound`. Searches outward from the guess `at`.
std::size_t count_up_to(std::span<const float> ordered, double bound, std::size_t at) {
  std::size_t low = at, high = at;
  for (std::size_t step = 1; low > 0 && ordered[low - 1] > bound; step *= 2) {
    high = low - 1;
    low -= std::min(low, step);
  }
  for (std::size_t step = 1; high < ordered.size() && ordered[high] <= bound; step *= 2) {
    low = high + 1;
    high += std::min(ordered.size() - high, step);
  }
  const auto range = ordered.subspan(low, high - low);
  return low + static_cast<std::size_t>(std::upper_bound(range.begin(), range.end(), bound) - range.begin());
}

// Moves the centroid of the empty cluster `empty` to the value farthest from its centroid: an end of a cluster.
void reseed(std::span<const float> ordered, const std::vector<std::size_t>& ends, std::size_t empty,
            std::vector<float>& centroids) {
  float farthest = 0;
  double distance = 0;
  for (std::size_t c = 0, begin = 0; c < ends.size(); begin = ends[c++]) {
    if (begin == ends[c]) continue;
    for (const float value : {ordered[begin], ordered[ends[c] - 1]}) {
      if (const double d = std::abs(double{value} - double{centroids[c]}); d > distance) {
        distance = d;
        farthest = value;
      }
    }
  }
  if (distance == 0) refuse_few_values(centroids.size());
  centroids.erase(centroids.begin() + static_cast<std::ptrdiff_t>(empty));
  centroids.insert(std::upper_bound(centroids.begin(), centroids.end(), farthest), farthest);
}

// Sums over all values before a place in the ordered distinct values. `_rest` is the rounding error of the double.
struct Prefix {
  double weight, sum, square;
  float sum_rest, square_rest;
};

void add_exactly(double& sum, double& rest, double term) {
  const double total = sum + term;
  const double part = total - sum;
  rest += (sum - (total - part)) + (term - part);
  sum = total;
}

std::vector<Prefix> prefixes(std::span<const float> ordered, std::span<const std::uint64_t> weights, double centre) {
  std::vector<Prefix> result;
  result.reserve(ordered.size() + 1);
  result.push_back({});
  double weight = 0, sum = 0, sum_rest = 0, square = 0, square_rest = 0;
  for (std::size_t i = 0; i < ordered.size(); ++i) {
    const double value = double{ordered[i]} - centre, times = weights.empty() ? 1 : static_cast<double>(weights[i]);
    weight += times;
    add_exactly(sum, sum_rest, times * value);
    add_exactly(square, square_rest, times * value * value);
    if (i + 1 < ordered.size() && ordered[i + 1] == ordered[i]) continue;
    result.push_back({weight, sum, square, static_cast<float>(sum_rest), static_cast<float>(square_rest)});
  }
  return result;
}

double range_sum(const Prefix& begin, const Prefix& end) {
  return (end.sum - begin.sum) + (double{end.sum_rest} - double{begin.sum_rest});
}

// Squared error of one cluster of the distinct values from `begin` to before `end`.
double cluster_error(const Prefix& begin, const Prefix& end) {
  const double weight = end.weight - begin.weight;
  const double sum = range_sum(begin, end);
  const double square = (end.square - begin.square) + (double{end.square_rest} - double{begin.square_rest});
  return std::max(0.0, square - sum * sum / weight);
}

struct Partition {
  std::vector<std::uint32_t> ends;  // of each cluster, as an index into the prefixes
  double error;
};

// The partition of least squared error + penalty * clusters. cluster_error is Monge: once a later origin of the last
// cluster is better, it is better for all later ends. A queue holds the origins that are best for some ends, each with
// the first of these ends.
Partition cheapest_partition(const std::vector<Prefix>& prefix, double penalty) {
  struct Origin {
    std::uint32_t begin, first_end;
  };
  const auto n = static_cast<std::uint32_t>(prefix.size() - 1);
  std::vector<double> best(n + std::size_t{1});
  std::vector<std::uint32_t> begins(n + std::size_t{1});
  std::vector<Origin> queue{{0, 1}};
  std::size_t head = 0;
  const auto cost = [&](auto begin, auto end) { return best[begin] + cluster_error(prefix[begin], prefix[end]); };
  for (std::uint32_t end = 1; end <= n; ++end) {
    while (head + 1 < queue.size() && queue[head + 1].first_end <= end) ++head;
    begins[end] = queue[head].begin;
    best[end] = cost(begins[end], end) + penalty;
    // As an origin, `end` beats the queue's last one from some place in (low, high] on, mostly close by. The place n +
    // 1 means nowhere.
    const auto wins = [&](std::size_t at) { return cost(end, at) < cost(queue.back().begin, at); };
    while (queue.back().first_end > end && wins(queue.back().first_end)) queue.pop_back();
    std::size_t low = std::max(queue.back().first_end, end), high = low + 1;
    for (std::size_t step = 1; high <= n && !wins(high); step *= 2) {
      low = high;
      high = std::min<std::size_t>(high + step, n + std::size_t{1});
    }
    while (high - low > 1) {
      const std::size_t at = low + (high - low) / 2;
      (wins(at) ? high : low) = at;
    }
    if (high <= n) queue.push_back({end, static_cast<std::uint32_t>(high)});
  }
  Partition result{{}, 0};
  for (std::uint32_t end = n; end > 0; end = begins[end]) {
    result.ends.push_back(end);
    result.error += cluster_error(prefix[begins[end]], prefix[end]);
  }
  std::reverse(result.ends.begin(), result.ends.end());
  return result;
}

// The optimum for k clusters, by a search for the penalty whose cheapest partition has k of them (Grønlund et al. 2017,
// "Fast exact k-means, k-medians and Bregman divergence clustering in 1D"). A cheapest partition is the best of all
// with as many clusters.
std::vector<std::uint32_t> optimal_ends(const std::vector<Prefix>& prefix, std::size_t k) {
  Partition fewer{{static_cast<std::uint32_t>(prefix.size() - 1)}, cluster_error(prefix.front(), prefix.back())};
  Partition more{std::vector<std::uint32_t>(prefix.size() - 1), 0};
  for (std::uint32_t i = 0; i < more.ends.size(); ++i) more.ends[i] = i + 1;
  const auto wanted = static_cast<double>(k);
  double guess = 5 * fewer.error / (wanted * wanted * wanted);
  for (bool guessing = true;;) {
    if (fewer.ends.size() == k) return fewer.ends;
    if (more.ends.size() == k) return more.ends;
    // At this penalty both cost the same.
    const double level = (fewer.error - more.error) / static_cast<double>(more.ends.size() - fewer.ends.size());
    const double penalty = guessing ? guess : level;
    Partition found = cheapest_partition(prefix, penalty);
    const std::size_t count = found.ends.size();
    if (count > fewer.ends.size() && count < more.ends.size()) {
      // The error falls about as 1 / count^2, so the gain of one more cluster falls as 1 / count^3.
      const double ratio = static_cast<double>(count) / wanted;
      guess = penalty * ratio * ratio * ratio;
      guessing = true;
      (count <= k ? fewer : more) = std::move(found);
    } else if (guessing) {
      guessing = false;
    } else {
      break;
    }
  }
  // No partition is cheaper at that penalty: both are optimal there. Follow `fewer` up to where one of its clusters
  // contains the cluster of `more` that is `skipped` further on, then `more`: by the Monge property this is optimal
  // too.
  const std::size_t skipped = more.ends.size() - k;
  std::size_t i = 0;
  while (fewer.ends[i] <= more.ends[i + skipped]) ++i;
  std::vector<std::uint32_t> ends(fewer.ends.begin(), fewer.ends.begin() + static_cast<std::ptrdiff_t>(i));
  ends.insert(ends.end(), more.ends.begin() + static_cast<std::ptrdiff_t>(i + skipped), more.ends.end());
  return ends;
}

}  // namespace

// Terminates: assigning to the nearest centroid and taking the mean never raise the squared error, and lower it unless
// nothing changes. Reseeding lowers it: the farthest value's error becomes 0, and no value loses its centroid. So no
// assignment returns, and there are finitely many. Rounding could at most let two assignments of equal error alternate:
// Brent's cycle detection ends that.
std::vector<float> lloyd(std::span<const float> ordered, std::vector<float> centroids,
                         std::span<const std::uint64_t> weights) {
  check_k(centroids.size());
  check_ascending(ordered, "values");
  check_ascending(centroids, "centroids");
  check_weights(ordered, weights);
  const RangeSums sums(ordered, weights);
  std::vector<std::size_t> ends(centroids.size());
  std::vector<float> milestone, means(centroids.size());
  for (std::uint64_t step = 1;;) {
    for (std::size_t c = 0; c + 1 < ends.size(); ++c) {
      ends[c] = count_up_to(ordered, middle(centroids[c], centroids[c + 1]), ends[c]);
    }
    ends.back() = ordered.size();
    std::size_t empty = ends.size();
    for (std::size_t c = 0, begin = 0; c < ends.size(); begin = ends[c++]) {
      if (begin == ends[c]) {
        empty = c;
        break;
      }
      means[c] = static_cast<float>(sums.sum(begin, ends[c]) / sums.weight(begin, ends[c]));
    }
    if (empty < ends.size()) {
      reseed(ordered, ends, empty, centroids);
      continue;
    }
    if (means == centroids || means == milestone) return centroids;
    if (std::has_single_bit(step++)) milestone = means;
    centroids = means;
  }
}

std::vector<float> optimal_centroids(std::span<const float> ordered, std::size_t k,
                                     std::span<const std::uint64_t> weights) {
  check_k(k);
  check_ascending(ordered, "values");
  check_weights(ordered, weights);
  if (ordered.empty()) refuse_few_values(k);
  const double centre = ordered[ordered.size() / 2];
  const auto prefix = prefixes(ordered, weights, centre);
  if (k > prefix.size() - 1) refuse_few_values(k);
  std::vector<float> centroids;
  Prefix begin = prefix[0];
  for (const std::uint32_t index : optimal_ends(prefix, k)) {
    const Prefix& end = prefix[index];
    centroids.push_back(static_cast<float>(centre + range_sum(begin, end) / (end.weight - begin.weight)));
    begin = end;
  }
  return lloyd(ordered, std::move(centroids), weights);
}

void assign(std::span<const float> values, std::span<const float> centroids, std::span<std::uint8_t> codes) {
  check_k(centroids.size());
  check_ascending(centroids, "centroids");
  // A complete search tree of middles, with infinite ones added: every value takes the same steps, without branches.
  const std::size_t leaves = std::bit_ceil(centroids.size());
  std::vector<double> middles(leaves, std::numeric_limits<double>::infinity());
  for (std::size_t c = 0; c + 1 < centroids.size(); ++c) middles[c] = middle(centroids[c], centroids[c + 1]);
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::size_t code = 0;
    for (std::size_t half = leaves / 2; half > 0; half /= 2) code += values[i] > middles[code + half - 1] ? half : 0;
    codes[i] = static_cast<std::uint8_t>(code);
  }
}

}  // namespace dcz
