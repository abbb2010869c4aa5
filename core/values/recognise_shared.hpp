// Finds the distinct elements of a tensor that has few of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace dcz {

// The elements with a bit set: their places (element i is bit i % 8 of byte i / 8), the distinct ones (ascending as
// unsigned integers), and the number of each among these.
struct SharedElements {
  std::vector<std::uint8_t> bitmap;
  std::vector<std::uint64_t> distinct;
  std::vector<std::uint8_t> codes;
};

// Nothing for more than 256 distinct ones. `elements` are little-endian, of `item_bytes` 2, 4 or 8.
std::optional<SharedElements> recognise_shared(std::span<const std::uint8_t> elements, unsigned item_bytes);

}  // namespace dcz
