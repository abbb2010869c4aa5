// Tensors of a file: their sizes, their rows, the order of their values.
#include "coding/tensor.hpp"

#include <algorithm>

namespace dcz {

std::optional<std::uint64_t> size_bytes(const Dtype& dtype, std::span<const std::uint64_t> shape) {
  constexpr std::uint64_t kMost = ~std::uint64_t{0} >> 1;
  std::uint64_t bytes = dtype.bits / 8, bits = dtype.bits % 8;  // of the elements so far, together
  for (const std::uint64_t length : shape) {
    const std::uint64_t axis = std::max<std::uint64_t>(length, 1);
    if (bytes > kMost / axis) return std::nullopt;
    bytes = bytes * axis + bits * (axis / 8) + bits * (axis % 8) / 8;
    bits = bits * (axis % 8) % 8;
    if (bytes > kMost - 1) return std::nullopt;
  }
  const bool empty = std::ranges::find(shape, std::uint64_t{0}) != shape.end();
  return empty ? 0 : bytes + (bits > 0);
}

std::string to_text(std::span<const std::uint64_t> shape) {
  std::string text = "[";
  for (const std::uint64_t axis : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(axis);
  return text + "]";
}

Stored stored_as(const Dtype& dtype, std::span<const std::uint64_t> shape, std::uint64_t bytes) {
  if (!dtype.is_row()) return {dtype, {shape.begin(), shape.end()}, bytes};
  const std::string_view name = dtype.item_bytes() == 8 ? "U64" : "U8";
  return {*std::ranges::find(kDtypes, name, &Dtype::name), {bytes / dtype.item_bytes()}, bytes};
}

std::uint64_t unordered_bits(std::uint64_t ordered, unsigned width) {
  const std::uint64_t sign = std::uint64_t{1} << (width - 1);
  return ordered & sign ? ordered ^ sign : (sign - 1 + sign) - ordered;
}

std::uint64_t ordered_bits(std::uint64_t bits, unsigned width) {
  const std::uint64_t sign = std::uint64_t{1} << (width - 1);
  return bits & sign ? (sign - 1 + sign) - bits : bits | sign;
}

std::vector<std::uint8_t> codebook_of(std::span<const std::uint64_t> ordered, unsigned item_bytes) {
  std::vector<std::uint8_t> codebook;
  for (const std::uint64_t each : ordered) {
    const std::uint64_t bits = unordered_bits(each, 8 * item_bytes);
    for (unsigned byte = 0; byte < item_bytes; ++byte) codebook.push_back(static_cast<std::uint8_t>(bits >> 8 * byte));
  }
  return codebook;
}

}  // namespace dcz
