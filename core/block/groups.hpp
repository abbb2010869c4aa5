// A block's symbols from first to last in little memory. Threads decode some groups at once; these are used in order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "block/block.hpp"
#include "common/pool.hpp"

namespace dcz {

// Calls use(symbols) for one group after the other of the block of `count` symbols below `alphabet` at `offset`. Moves
// `offset` behind it.
template <typename Use>
void each_group(std::span<const std::uint8_t> data, std::size_t& offset, std::size_t count, std::size_t alphabet,
                unsigned threads, Use use) {
  const BlockReader reader(data, offset, count, alphabet);
  const std::size_t groups = reader.groups();
  std::vector<std::vector<std::uint8_t>> decoded(std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(groups, 1)));
  for (std::size_t first = 0; first < groups; first += decoded.size()) {
    const std::size_t together = std::min(decoded.size(), groups - first);
    share_items(threads, together, [&](std::size_t i, unsigned) {
      decoded[i].resize(reader.group(first + i).count);
      reader.read(first + i, decoded[i]);
    });
    for (std::size_t i = 0; i < together; ++i) use(std::span<const std::uint8_t>(decoded[i]));
  }
}

}  // namespace dcz
