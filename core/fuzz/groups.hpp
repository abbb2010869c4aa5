// A payload of the coder `device` without a codebook, from symbols at the places of a bitmap.
#pragma once

#include "common/fields.hpp"
#include "fuzz/fuzz.hpp"
#include "huffman/huffman.hpp"
#include "rows/encode.hpp"

namespace dcz::fuzz {

// Needs one symbol at least, for the bits of the bitmap or for all elements.
inline std::vector<std::uint8_t> write_groups(Bytes bitmap, std::uint64_t rows, std::uint64_t columns,
                                              std::uint64_t group, unsigned escape, Bytes symbols) {
  const GroupedEntries entries{bitmap, rows * columns, group * columns};
  std::vector<std::uint64_t> counts(256);
  for (const std::uint8_t symbol : symbols) ++counts[symbol];
  std::vector<std::uint64_t> gaps(escape + 1);
  for (const auto& [gap, count] : gap_counts(entries)) {
    gaps[escape] += gap / escape * count;
    gaps[gap % escape] += count;
  }
  const auto gap_lengths = code_lengths(gaps, 12), lengths = code_lengths(counts, 12);
  const Groups groups = encode_groups(entries, symbols, gap_lengths, lengths);
  std::vector<std::uint8_t> payload{1};
  put_varint(payload, group);
  payload.push_back(static_cast<std::uint8_t>(escape));
  append(payload, pack_table(gap_lengths));
  append(payload, pack_table(lengths));
  for (const std::uint64_t length : groups.lengths) put_varint(payload, length);
  append(payload, groups.bytes);
  return payload;
}

}  // namespace dcz::fuzz
