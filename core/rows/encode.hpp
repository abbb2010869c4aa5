// Writes the groups of rows of the coder `device` (docs/format.md, "device").
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace dcz {

// The entries of a tensor of `size` elements, in groups of `group` elements, the last one with the rest. An empty
// bitmap stands for all elements.
struct GroupedEntries {
  std::span<const std::uint8_t> bitmap;
  std::uint64_t size, group;
};

// How often each gap occurs, by gap.
std::map<std::uint64_t, std::uint64_t> gap_counts(const GroupedEntries& entries);

struct Groups {
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint64_t> lengths;  // the bytes of each
};

// `symbols` are those of the entries, in order. Codes have at most 16 bits.
Groups encode_groups(const GroupedEntries& entries, std::span<const std::uint8_t> symbols,
                     std::span<const std::uint8_t> gap_lengths, std::span<const std::uint8_t> symbol_lengths);

}  // namespace dcz
