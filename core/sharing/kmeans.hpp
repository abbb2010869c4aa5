// One-dimensional k-means: Lloyd, the optimum, and nearest centroids. The paper's section 3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dcz {

inline constexpr std::size_t kMaxCentroids = 256;

// Lloyd's iteration until nothing changes. `ordered` and `centroids` ascend and are finite. The result is strictly
// ascending, no cluster of it is empty, and each centroid is its values' mean. `weights` are the occurrences of
// each value; without them each occurs once.
std::vector<float> lloyd(std::span<const float> ordered, std::vector<float> centroids,
                         std::span<const std::uint64_t> weights = {});

// The k centroids of least squared error.
std::vector<float> optimal_centroids(std::span<const float> ordered, std::size_t k,
                                     std::span<const std::uint64_t> weights = {});

// The nearest centroid of each value, the lower one on ties.
void assign(std::span<const float> values, std::span<const float> centroids, std::span<std::uint8_t> codes);

}  // namespace dcz
