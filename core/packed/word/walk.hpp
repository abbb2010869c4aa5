// The pairs of packed weights of the form `word`, one part or one row after the other.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packed/word/word.hpp"

namespace dcz {

// Calls use(at, code, survivor) for each pair of a part, fillers too. Whatever the bytes are, `at` grows, but may lie
// behind the last column.
template <typename Use>
inline void each_pair(const WordView& view, std::size_t block, std::size_t lane, const Use& use) {
  const std::uint32_t most = view.most(), pair = (1u << view.pair_bits) - 1;
  std::uint64_t column = view.column(kBlockParts * block + lane);
  for (std::size_t turn = view.start(block); turn < view.start(block + 1); ++turn) {
    std::uint32_t word = view.words[kBlockParts * turn + lane];
    for (unsigned i = 0; i < view.word_pairs; ++i, word >>= view.pair_bits) {
      const std::uint32_t skip = word & most;
      const std::uint64_t at = column + skip;
      const bool survivor = skip != most;
      use(at, (word & pair) >> view.skip_bits, survivor);
      column = at + (survivor ? 1 : 0);
    }
  }
}

// Calls use(column, code) for the survivors of a stored row, no column of them behind the last one.
template <typename Use>
inline void each_survivor(const WordView& view, std::size_t stored, const Use& use) {
  const std::size_t block = stored / view.block_rows, first = stored % view.block_rows * view.parts;
  for (std::size_t part = 0; part < view.parts; ++part) {
    each_pair(view, block, first + part, [&](std::uint64_t at, std::uint32_t code, bool survivor) {
      if (survivor && at < view.header.columns) use(static_cast<std::size_t>(at), code);
    });
  }
}

}  // namespace dcz
