// Codebooks, and codes and values of survivors <-> bytes (docs/format.md, "Codebook" and "Values").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/survivors.hpp"

namespace dcz {

// A codebook's elements as strictly ascending integers of `width` bits, 8 to 64.
std::vector<std::uint8_t> pack_ascending(std::span<const std::uint64_t> values, unsigned width);
std::vector<std::uint64_t> unpack_ascending(std::span<const std::uint8_t> data, std::size_t& offset, std::size_t count,
                                            unsigned width);

// Survivors' elements of `item_bytes` 1, 2, 4 or 8 are stored as one block for each of their bytes, the most
// significant first. With `is_float` an element is rotated left by one bit: a float's exponent then begins a byte.

// The block of byte number `byte`, 0 for the least significant, of the survivors in `dense`.
std::vector<std::uint8_t> encode_plane(std::span<const std::uint8_t> dense, const Survivors& survivors,
                                       unsigned item_bytes, unsigned byte, bool is_float);

// All these blocks -> elements at their places in `dense`, which is all zero before.
void decode_planes(std::span<const std::uint8_t> data, std::size_t& offset, const Survivors& survivors,
                   unsigned item_bytes, bool is_float, std::span<std::uint8_t> dense, unsigned threads);

// A block of codes -> the elements of their centroids, from `codebook`, at their places in `dense`, all zero before.
void decode_codes(std::span<const std::uint8_t> data, std::size_t& offset, const Survivors& survivors,
                  std::span<const std::uint8_t> codebook, unsigned item_bytes, std::span<std::uint8_t> dense,
                  unsigned threads);

// The same for the codes of all survivors.
void place_codes(std::span<const std::uint8_t> codes, const Survivors& survivors,
                 std::span<const std::uint8_t> codebook, unsigned item_bytes, std::span<std::uint8_t> dense);

}  // namespace dcz
