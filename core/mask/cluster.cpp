// Items of different density in few classes: coded class by class, their bits take the least.
#include "mask/cluster.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>

#include "common/log2.hpp"

namespace dcz {
namespace {

double density(const Tally& tally) {
  return tally.size == 0 ? 0 : static_cast<double>(tally.ones) / static_cast<double>(tally.size);
}

double plogp(double part, double whole) { return part > 0 ? part * portable_log2(whole / part) : 0; }

// Consecutive items, sparsest first, that stay together: bins are few enough for the quadratic search below.
struct Bin {
  std::size_t end;
  Tally tally;
};

std::vector<Bin> bins_of(std::span<const Tally> items, std::span<const std::uint32_t> order) {
  constexpr std::size_t kBins = 128;
  std::vector<Bin> bins;
  const std::size_t count = std::min(kBins, order.size());
  for (std::size_t bin = 0, i = 0; bin < count; ++bin) {
    Bin next{order.size() * (bin + 1) / count, {}};
    for (; i < next.end; ++i) {
      next.tally.ones += items[order[i]].ones;
      next.tally.size += items[order[i]].size;
    }
    bins.push_back(next);
  }
  return bins;
}

}  // namespace

double entropy_bits(const Tally& tally) {
  const auto ones = static_cast<double>(tally.ones), size = static_cast<double>(tally.size);
  return plogp(ones, size) + plogp(size - ones, size);
}

std::vector<Clustering> cluster(std::span<const Tally> items, unsigned most, double class_bits) {
  std::vector<std::uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return density(items[a]) < density(items[b]); });
  const std::vector<Bin> bins = bins_of(items, order);

  // Bits of one class of the bins from `begin` to `end` - 1.
  const std::size_t n = bins.size();
  std::vector<double> cost((n + 1) * (n + 1));
  for (std::size_t begin = 0; begin < n; ++begin) {
    Tally tally;
    const std::size_t first = begin > 0 ? bins[begin - 1].end : 0;
    for (std::size_t end = begin + 1; end <= n; ++end) {
      tally.ones += bins[end - 1].tally.ones;
      tally.size += bins[end - 1].tally.size;
      const auto members = static_cast<double>(bins[end - 1].end - first);
      cost[begin * (n + 1) + end] =
          entropy_bits(tally) + plogp(members, static_cast<double>(items.size())) + class_bits;
    }
  }
  // best[k][end]: the fewest bits of the bins before `end` in k + 1 classes, the last of which begins at from[k][end].
  std::vector<std::vector<double>> best(1, std::vector<double>(n + 1, std::numeric_limits<double>::infinity()));
  std::vector<std::vector<std::size_t>> from(1, std::vector<std::size_t>(n + 1));
  for (std::size_t end = 1; end <= n; ++end) best[0][end] = cost[end];
  std::vector<Clustering> result;
  for (unsigned k = 0; k < most && k < n; ++k) {
    if (k > 0) {
      best.emplace_back(n + 1, std::numeric_limits<double>::infinity());
      from.emplace_back(n + 1);
      for (std::size_t end = k + 1; end <= n; ++end) {
        for (std::size_t begin = k; begin < end; ++begin) {
          const double bits = best[k - 1][begin] + cost[begin * (n + 1) + end];
          if (bits < best[k][end]) {
            best[k][end] = bits;
            from[k][end] = begin;
          }
        }
      }
    }
    Clustering clustering{best[k][n], std::vector<std::uint8_t>(items.size()), k + 1};
    std::size_t end = n;
    for (unsigned c = k + 1; c-- > 0;) {
      const std::size_t begin = from[c][end];
      const std::size_t first = begin > 0 ? bins[begin - 1].end : 0;
      for (std::size_t i = first; i < bins[end - 1].end; ++i) clustering.of[order[i]] = static_cast<std::uint8_t>(c);
      end = begin;
    }
    result.push_back(std::move(clustering));
  }
  return result;
}

}  // namespace dcz
