// Finds the distinct elements of a tensor that has few of them.
#include "values/recognise_shared.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>

namespace dcz {
namespace {

constexpr std::size_t kMostDistinct = 256;

// A hash table of elements -> their numbers, in the order of first appearance.
template <typename Item>
class Numbering {
 public:
  // The element's number; `kMostDistinct` if it is new and no number is left.
  std::size_t number_of(Item item) {
    std::size_t slot = static_cast<std::size_t>((std::uint64_t{item} * 0x9e3779b97f4a7c15) >> 54);
    for (; used_[slot] > 0; slot = (slot + 1) % kSlots) {
      if (items_[slot] == item) return used_[slot] - 1u;
    }
    if (seen.size() == kMostDistinct) return kMostDistinct;
    items_[slot] = item;
    seen.push_back(item);
    used_[slot] = static_cast<std::uint16_t>(seen.size());
    return seen.size() - 1;
  }

  std::vector<Item> seen;

 private:
  static constexpr std::size_t kSlots = 1024;
  std::array<Item, kSlots> items_{};
  std::array<std::uint16_t, kSlots> used_{};
};

// With few values among so many survivors a tensor is likely to be shared: its codes get all their memory.
constexpr std::size_t kLikely = std::size_t{1} << 16;

template <typename Item>
std::optional<SharedElements> recognise(std::span<const std::uint8_t> elements) {
  const std::size_t size = elements.size() / sizeof(Item);
  const auto item_at = [&](std::size_t i) {
    Item item;
    std::memcpy(&item, elements.data() + i * sizeof(Item), sizeof(Item));
    return item;
  };
  SharedElements found;
  found.bitmap.resize(size / 8 + (size % 8 != 0));
  Numbering<Item> numbering;
  for (std::size_t i = 0; i < size; ++i) {
    const Item item = item_at(i);
    if (item == 0) continue;
    const std::size_t number = numbering.number_of(item);
    if (number == kMostDistinct) return std::nullopt;
    if (found.codes.size() == kLikely) {
      std::size_t rest = 0;
      for (std::size_t j = i; j < size; ++j) rest += item_at(j) != 0;
      found.codes.reserve(kLikely + rest);
    }
    found.bitmap[i / 8] = static_cast<std::uint8_t>(found.bitmap[i / 8] | 1u << (i % 8));
    found.codes.push_back(static_cast<std::uint8_t>(number));
  }
  // From the order of appearance to ascending order.
  std::vector<std::size_t> order(numbering.seen.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return numbering.seen[a] < numbering.seen[b]; });
  std::array<std::uint8_t, kMostDistinct> rank{};
  for (std::size_t i = 0; i < order.size(); ++i) {
    rank[order[i]] = static_cast<std::uint8_t>(i);
    found.distinct.push_back(numbering.seen[order[i]]);
  }
  for (std::uint8_t& code : found.codes) code = rank[code];
  return found;
}

}  // namespace

std::optional<SharedElements> recognise_shared(std::span<const std::uint8_t> elements, unsigned item_bytes) {
  if (item_bytes == 2) return recognise<std::uint16_t>(elements);
  if (item_bytes == 4) return recognise<std::uint32_t>(elements);
  if (item_bytes == 8) return recognise<std::uint64_t>(elements);
  throw std::invalid_argument("elements have 2, 4 or 8 bytes");
}

}  // namespace dcz
