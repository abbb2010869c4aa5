// Finds out whether few distinct elements make up a tensor, and which.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace dcz {

// The elements that are not zero in all their bits: where they are (element i is bit i % 8 of byte i / 8), which there
// are (ascending as unsigned integers), and which of those each is.
struct SharedElements {
  std::vector<std::uint8_t> bitmap;
  std::vector<std::uint64_t> distinct;
  std::vector<std::uint8_t> codes;
};

// Nothing if there are more than 256 of them. `elements` are little-endian, of `item_bytes` 2, 4 or 8.
std::optional<SharedElements> recognise_shared(std::span<const std::uint8_t> elements, unsigned item_bytes);

}  // namespace dcz
