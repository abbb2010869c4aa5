// Codebook, mask and codes of a pruned tensor in one arithmetic-coded string. docs/format.md, "Adaptive".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dcz {

// The facts of a tensor that encoder and decoder share.
struct AdaptiveTensor {
  std::span<const std::uint64_t> shape;
  std::uint64_t survivors;
  unsigned centroids;  // at most 256; 0: only the mask is coded
  unsigned width;      // bits of a centroid, 8 to 64
};

// `codebook` holds the centroids as strictly ascending integers; the upper half of all integers is zero and above. In
// `bitmap` element i survives if bit i % 8 of byte i / 8 is set. `codes` are the survivors', in C order.
std::vector<std::uint8_t> encode_adaptive(const AdaptiveTensor& tensor, std::span<const std::uint64_t> codebook,
                                          std::span<const std::uint8_t> bitmap, std::span<const std::uint8_t> codes);

// Fills `codebook`, `bitmap` (as many bytes as the elements need) and `codes` (one for each survivor, none without
// centroids).
void decode_adaptive(std::span<const std::uint8_t> data, const AdaptiveTensor& tensor,
                     std::span<std::uint64_t> codebook, std::span<std::uint8_t> bitmap, std::span<std::uint8_t> codes);

}  // namespace dcz
