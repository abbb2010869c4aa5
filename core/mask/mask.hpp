// The surviving elements of a tensor <-> the mask section of docs/format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/bitmap.hpp"
#include "common/shape.hpp"

namespace dcz {

std::vector<std::uint8_t> encode_mask(const Bitmap& mask, std::span<const std::uint64_t> shape);

// Reads the mask of a tensor of this shape at `offset` and moves `offset` behind it.
Bitmap decode_mask(std::span<const std::uint8_t> data, std::size_t& offset, std::span<const std::uint64_t> shape,
                   unsigned threads);

}  // namespace dcz
