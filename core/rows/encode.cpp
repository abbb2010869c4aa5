// Writes the groups of rows of the coder `device` (docs/format.md, "device").
#include "rows/encode.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "common/bit_walk.hpp"
#include "huffman/canonical_code.hpp"

namespace dcz {
namespace {

// Calls use(begin, end) for each group, then entry(gap) for each of its entries and end(gap) for the way to its end.
template <typename Entry, typename End>
void each_gap(const GroupedEntries& entries, const Entry& entry, const End& end_of_group) {
  if (entries.group < 1) throw std::invalid_argument("a group has at least one element");
  if (!entries.bitmap.empty() && entries.bitmap.size() < entries.size / 8 + (entries.size % 8 > 0)) {
    throw std::invalid_argument("the bitmap is too short");
  }
  for (std::uint64_t begin = 0; begin < entries.size;) {
    const std::uint64_t end = begin + std::min(entries.group, entries.size - begin);
    std::uint64_t next = begin;
    const auto use = [&](std::uint64_t at) {
      entry(at - next);
      next = at + 1;
    };
    if (entries.bitmap.empty()) {
      for (std::uint64_t at = begin; at < end; ++at) use(at);
    } else {
      each_bit(entries.bitmap, begin, end, use);
    }
    end_of_group(end - next);
    begin = end;
  }
}

struct Code {
  std::uint32_t bits;
  unsigned length;
};

// The code of each symbol; a lone one takes no bits.
std::vector<Code> codes_of(std::span<const std::uint8_t> lengths) {
  const CanonicalCode code(lengths);
  if (!code.flaw.empty()) throw std::invalid_argument("not the lengths of a Huffman code: " + code.flaw);
  std::vector<Code> codes(lengths.size());
  for (std::uint32_t i = 0; i < code.symbols.size() && code.symbols.size() > 1; ++i) {
    const unsigned length = lengths[code.symbols[i]];
    codes[code.symbols[i]] = {code.first[length] + i - code.start[length], length};
  }
  return codes;
}

// "Bits of groups are filled from the most significant bit of each byte."
class HighBitWriter {
 public:
  void put(Code code) {
    pending_ = pending_ << code.length | code.bits;
    for (count_ += code.length; count_ >= 8; count_ -= 8) {
      bytes.push_back(static_cast<std::uint8_t>(pending_ >> (count_ - 8)));
    }
  }
  void pad() {
    if (count_ > 0) put({0, 8 - count_});
  }

  std::vector<std::uint8_t> bytes;

 private:
  std::uint64_t pending_ = 0;
  unsigned count_ = 0;
};

}  // namespace

std::map<std::uint64_t, std::uint64_t> gap_counts(const GroupedEntries& entries) {
  std::vector<std::uint64_t> small(4096);
  std::map<std::uint64_t, std::uint64_t> counts;
  const auto count = [&](std::uint64_t gap) { ++(gap < small.size() ? small[gap] : counts[gap]); };
  each_gap(entries, count, count);
  for (std::uint64_t gap = 0; gap < small.size(); ++gap) {
    if (small[gap] > 0) counts[gap] = small[gap];
  }
  return counts;
}

Groups encode_groups(const GroupedEntries& entries, std::span<const std::uint8_t> symbols,
                     std::span<const std::uint8_t> gap_lengths, std::span<const std::uint8_t> symbol_lengths) {
  if (gap_lengths.size() < 2) throw std::invalid_argument("an escape is from 1 to 255");
  const std::vector<Code> gap_codes = codes_of(gap_lengths), codes = codes_of(symbol_lengths);
  const std::uint64_t escape = gap_lengths.size() - 1;
  Groups groups;
  HighBitWriter writer;
  std::size_t symbol = 0, written = 0;
  const auto put_gap = [&](std::uint64_t gap) {
    for (; gap >= escape; gap -= escape) writer.put(gap_codes[escape]);
    writer.put(gap_codes[gap]);
  };
  each_gap(
      entries,
      [&](std::uint64_t gap) {
        if (symbol == symbols.size() || symbols[symbol] >= codes.size()) {
          throw std::invalid_argument("entry " + std::to_string(symbol) + " has no symbol of the code");
        }
        put_gap(gap);
        writer.put(codes[symbols[symbol++]]);
      },
      [&](std::uint64_t gap) {
        put_gap(gap);
        writer.pad();
        groups.lengths.push_back(writer.bytes.size() - written);
        written = writer.bytes.size();
      });
  if (symbol != symbols.size()) throw std::invalid_argument("there are more symbols than entries");
  groups.bytes = std::move(writer.bytes);
  return groups;
}

}  // namespace dcz
