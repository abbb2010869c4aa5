// A block decoded with every instruction set of this CPU: all must give the same symbols, or all refuse.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "block.hpp"
#include "cpu.hpp"
#include "fuzz.hpp"

namespace dcz::fuzz {

// The symbols, `offset` moved behind the block; nothing if it is refused.
inline std::optional<std::vector<std::uint8_t>> decoded_by_every_set(Bytes data, std::size_t& offset, std::size_t count,
                                                                     std::size_t alphabet) {
  static const std::vector<std::string> sets = instruction_sets();
  const std::size_t begin = offset;
  std::optional<std::vector<std::uint8_t>> first;
  for (const std::string& set : sets) {
    force_instruction_set(set);
    std::size_t at = begin;
    std::optional<std::vector<std::uint8_t>> symbols(count);
    if (refused([&] { decode_block(data, at, *symbols, alphabet, 2); })) symbols.reset();
    if (set == sets.front()) {
      first = std::move(symbols);
      if (first) offset = at;
    } else {
      check(first == symbols && (!first || offset == at));
    }
  }
  force_instruction_set("");
  return first;
}

}  // namespace dcz::fuzz
