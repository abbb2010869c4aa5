// The number of elements of some axes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

namespace dcz {

// The product of the axes from `first` to `end` - 1.
inline std::uint64_t extent(std::span<const std::uint64_t> shape, std::size_t first, std::size_t end) {
  std::uint64_t product = 1;
  for (const std::uint64_t axis : shape.subspan(first, end - first)) {
    if (axis > 0 && product > ~std::uint64_t{0} / axis) {
      throw std::invalid_argument("a shape of more than 2^64 elements");
    }
    product *= axis;
  }
  return product;
}

inline std::uint64_t extent(std::span<const std::uint64_t> shape) { return extent(shape, 0, shape.size()); }

}  // namespace dcz
