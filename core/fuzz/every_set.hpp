// Blocks by every instruction set of this CPU: all must write the same bytes, and read the same symbols or all refuse.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "block/block.hpp"
#include "common/cpu.hpp"
#include "fuzz/fuzz.hpp"

namespace dcz::fuzz {

// Calls run(first) with each set forced, the slowest first.
template <typename Run>
void by_every_set(const Run& run) {
  static const std::vector<std::string> sets = instruction_sets();
  for (const std::string& set : sets) {
    force_instruction_set(set);
    run(set == sets.front());
  }
  force_instruction_set("");
}

inline std::vector<std::uint8_t> encoded_by_every_set(Bytes symbols) {
  std::vector<std::uint8_t> block;
  by_every_set([&](bool first) {
    auto found = encode_block(symbols);
    check(first || found == block);
    block = std::move(found);
  });
  return block;
}

// The symbols, `offset` moved behind the block; nothing if it is refused.
inline std::optional<std::vector<std::uint8_t>> decoded_by_every_set(Bytes data, std::size_t& offset, std::size_t count,
                                                                     std::size_t alphabet) {
  const std::size_t begin = offset;
  std::optional<std::vector<std::uint8_t>> result;
  by_every_set([&](bool first) {
    std::size_t at = begin;
    std::optional<std::vector<std::uint8_t>> symbols(count);
    if (refused([&] { decode_block(data, at, *symbols, alphabet, 2); })) {
      symbols.reset();
      at = begin;
    }
    check(first || (symbols == result && at == offset));
    result = std::move(symbols);
    offset = at;
  });
  return result;
}

}  // namespace dcz::fuzz
