// Canonical Huffman codes of at most 16 bits: lengths, tables and streams as docs/format.md defines them.
#include "huffman/huffman.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <compare>
#include <numeric>
#include <stdexcept>
#include <string>

#include "common/bits.hpp"
#include "common/error.hpp"
#include "common/fields.hpp"
#include "huffman/canonical_code.hpp"
#include "huffman/decode_table.hpp"
#include "huffman/elias_gamma.hpp"

namespace dcz {
namespace {

// A sum of counts: sixteen times 65,536 counts of 64 bits need 84.
struct Weight {
  std::uint64_t high, low;
  auto operator<=>(const Weight&) const = default;
};

Weight operator+(const Weight& a, const Weight& b) {
  const std::uint64_t low = a.low + b.low;
  return {a.high + b.high + (low < a.low), low};
}

void check_alphabet(std::size_t size) {
  if (size > kMaxAlphabet) throw std::invalid_argument("an alphabet has at most 65537 symbols");
}

// For a writer and for streams, whose lengths come from the caller.
CanonicalCode checked_code(std::span<const std::uint8_t> lengths) {
  check_alphabet(lengths.size());
  CanonicalCode code(lengths);
  if (!code.flaw.empty()) throw std::invalid_argument("not the lengths of a Huffman code: " + code.flaw);
  return code;
}

// Symbols of streams have 16 bits.
CanonicalCode stream_code(std::span<const std::uint8_t> lengths) {
  if (lengths.size() > 65536) throw std::invalid_argument("a stream's alphabet has at most 65536 symbols");
  return checked_code(lengths);
}

std::string at_byte(std::size_t offset) { return " at byte " + std::to_string(offset); }

}  // namespace

std::vector<std::uint8_t> code_lengths(std::span<const std::uint64_t> counts, unsigned longest) {
  check_alphabet(counts.size());
  std::vector<std::uint32_t> leaves;
  for (std::size_t symbol = 0; symbol < counts.size(); ++symbol) {
    if (counts[symbol] > 0) leaves.push_back(static_cast<std::uint32_t>(symbol));
  }
  if (leaves.size() > std::size_t{1} << longest) {
    throw std::invalid_argument("more than " + std::to_string(1u << longest) + " symbols occur, too many for " +
                                std::to_string(longest) + " bits");
  }
  std::vector<std::uint8_t> lengths(counts.size());
  if (leaves.size() == 1) lengths[leaves[0]] = 1;
  if (leaves.size() < 2) return lengths;
  std::stable_sort(leaves.begin(), leaves.end(), [&](auto a, auto b) { return counts[a] < counts[b]; });

  // Package-merge: a level's list merges the leaves with the previous list's pairs, a leaf before an equal package.
  std::vector<std::vector<std::uint8_t>> is_leaf(longest);
  std::vector<Weight> list, merged;
  for (auto& level : is_leaf) {
    merged.clear();
    const std::size_t packages = list.size() / 2;
    for (std::size_t leaf = 0, package = 0; leaf < leaves.size() || package < packages;) {
      const Weight single = leaf < leaves.size() ? Weight{0, counts[leaves[leaf]]} : Weight{~0ull, 0};
      const Weight pair = package < packages ? list[2 * package] + list[2 * package + 1] : Weight{~0ull, 0};
      level.push_back(single <= pair);
      merged.push_back(level.back() ? single : pair);
      ++(level.back() ? leaf : package);
    }
    list.swap(merged);
  }
  // A symbol's length is how often its leaf lies within the 2m - 2 lightest of the last list, packages opened.
  auto taken = static_cast<std::ptrdiff_t>(2 * leaves.size() - 2);
  for (auto level = is_leaf.rbegin(); level != is_leaf.rend(); ++level) {
    const auto singles = std::count(level->begin(), level->begin() + taken, 1);
    for (std::size_t leaf = 0; leaf < static_cast<std::size_t>(singles); ++leaf) ++lengths[leaves[leaf]];
    taken = 2 * (taken - singles);
  }
  return lengths;
}

std::vector<std::uint8_t> pack_table(std::span<const std::uint8_t> lengths) {
  const CanonicalCode code = checked_code(lengths);
  if (code.symbols.empty()) throw std::invalid_argument("a code table needs a symbol that occurs");
  const std::size_t n = *std::max_element(code.symbols.begin(), code.symbols.end()) + 1u;

  BitWriter writer;
  std::size_t varint = n;
  for (; varint >= 0x80; varint >>= 7) writer.put((varint & 0x7f) | 0x80, 8);
  writer.put(varint, 8);
  int previous = 4;
  for (std::size_t symbol = 0; symbol < n; ++symbol) {
    if (lengths[symbol] == 0) {
      const std::size_t run = symbol;
      while (lengths[symbol + 1] == 0) ++symbol;
      put_token(writer, 2);
      put_token(writer, static_cast<std::uint32_t>(symbol - run));
      continue;
    }
    const int step = lengths[symbol] - previous;
    put_token(writer, static_cast<std::uint32_t>(step == 1 ? 1 : step >= 0 ? 2 * step : 1 - 2 * step));
    previous = lengths[symbol];
  }
  return writer.finish();
}

std::vector<std::uint8_t> unpack_table(std::span<const std::uint8_t> data, std::size_t& offset, std::size_t alphabet) {
  check_alphabet(alphabet);
  const std::size_t begin = offset;
  const std::uint64_t n = take_varint(data, offset, "code table");
  if (n < 1 || n > alphabet) {
    throw FormatError("code table" + at_byte(begin) + " has " + std::to_string(n) + " symbols, expected 1 to " +
                      std::to_string(alphabet));
  }
  std::vector<std::uint8_t> lengths(alphabet);
  BitReader reader(data.subspan(offset));
  int previous = 4;
  for (std::uint64_t symbol = 0; symbol < n; ++symbol) {
    const std::uint32_t v = take_token(reader, "code table", begin);
    if (v == 2) {
      symbol += take_token(reader, "code table", begin);
      // "The last symbol occurs."
      if (symbol >= n - 1) throw FormatError("code table" + at_byte(begin) + " has unused symbols at its end");
      continue;
    }
    const auto half = static_cast<int>(v / 2);
    previous += v == 1 ? 1 : v % 2 == 0 ? half : -half;
    if (previous < 1 || previous > static_cast<int>(kMaxCodeLength)) {
      throw FormatError("code table" + at_byte(begin) + " gives symbol " + std::to_string(symbol) + " the length " +
                        std::to_string(previous) + ", expected 1 to 16");
    }
    lengths[symbol] = static_cast<std::uint8_t>(previous);
  }
  if (!reader.padding_is_zero())
    throw FormatError("code table" + at_byte(begin) + " has padding bits that are not zero");
  const CanonicalCode code(lengths);
  if (!code.flaw.empty()) throw FormatError("code table" + at_byte(begin) + " is no Huffman code: " + code.flaw);
  offset += reader.size_bytes();
  return lengths;
}

std::uint64_t bits_of(std::span<const std::uint64_t> counts, std::span<const std::uint8_t> lengths) {
  return std::inner_product(counts.begin(), counts.end(), lengths.begin(), std::uint64_t{0});
}

std::vector<std::uint64_t> symbol_counts(std::span<const std::uint16_t> symbols, std::size_t alphabet) {
  check_alphabet(alphabet);
  std::uint16_t largest = 0;
  for (const std::uint16_t symbol : symbols) largest = std::max(largest, symbol);
  if (!symbols.empty() && largest >= alphabet) {
    throw std::invalid_argument("symbol " + std::to_string(largest) + " is outside an alphabet of " +
                                std::to_string(alphabet));
  }
  // Two rows, so that runs of one symbol do not wait for their own counter.
  std::vector<std::uint64_t> even(alphabet), odd(alphabet);
  for (std::size_t i = 0; i + 1 < symbols.size(); i += 2) {
    ++even[symbols[i]];
    ++odd[symbols[i + 1]];
  }
  if (symbols.size() % 2 == 1) ++even[symbols.back()];
  for (std::size_t symbol = 0; symbol < alphabet; ++symbol) even[symbol] += odd[symbol];
  return even;
}

std::vector<std::uint8_t> encode_symbols(std::span<const std::uint16_t> symbols,
                                         std::span<const std::uint8_t> lengths) {
  const CanonicalCode code = stream_code(lengths);
  const auto counts = symbol_counts(symbols, lengths.size());
  for (std::size_t symbol = 0; symbol < counts.size(); ++symbol) {
    if (counts[symbol] > 0 && lengths[symbol] == 0) {
      throw std::invalid_argument("symbol " + std::to_string(symbol) + " has no code");
    }
  }
  if (code.symbols.size() < 2) return {};

  struct Code {
    std::uint16_t bits, length;
  };
  std::vector<Code> codes(lengths.size());
  for (std::uint32_t i = 0; i < code.symbols.size(); ++i) {
    const unsigned length = lengths[code.symbols[i]];
    const std::uint32_t value = code.first[length] + i - code.start[length];
    codes[code.symbols[i]] = {static_cast<std::uint16_t>(reverse_bits(value, length)),
                              static_cast<std::uint16_t>(length)};
  }
  BitWriter writer(bits_of(counts, lengths) / 8);
  std::size_t i = 0;
  for (; i + 3 <= symbols.size(); i += 3) {
    const Code a = codes[symbols[i]], b = codes[symbols[i + 1]], c = codes[symbols[i + 2]];
    writer.put(a.bits, a.length);
    writer.put(b.bits, b.length);
    writer.put(c.bits, c.length);
    writer.flush();
  }
  for (; i < symbols.size(); ++i) writer.put(codes[symbols[i]].bits, codes[symbols[i]].length);
  return writer.finish();
}

namespace {

template <typename Symbol>
void decode_stream(std::span<const std::uint8_t> data, std::size_t offset, std::size_t length,
                   std::span<const std::uint8_t> lengths, std::span<Symbol> symbols) {
  const CanonicalCode code = stream_code(lengths);
  const std::string name = "symbol stream" + at_byte(offset);
  if (offset > data.size() || length > data.size() - offset) {
    throw FormatError(name + " needs " + std::to_string(length) + " bytes, but the data has " +
                      std::to_string(data.size()));
  }
  if (code.symbols.empty() && !symbols.empty()) throw FormatError(name + " has symbols, but its code has none");
  if (code.symbols.size() < 2) {
    if (length > 0) throw FormatError(name + " has " + std::to_string(length) + " bytes, expected none");
    if (!symbols.empty()) std::fill(symbols.begin(), symbols.end(), static_cast<Symbol>(code.symbols[0]));
    return;
  }
  // Bounds the work below, before the memory is touched.
  if (symbols.size() / 8 > length) {
    throw FormatError(name + " has " + std::to_string(length) + " bytes, too few for " +
                      std::to_string(symbols.size()) + " symbols");
  }

  const DecodeTable table(code);
  BitReader reader(data.subspan(offset, length));
  const auto decode_one = [&] {
    const std::uint32_t window = reverse_bits(static_cast<std::uint32_t>(reader.peek() & 0xffff), kMaxCodeLength);
    const unsigned bits = table.length_of(window);
    reader.skip(bits);
    const std::uint32_t rank = (window >> (kMaxCodeLength - bits)) - code.first[bits];
    return static_cast<Symbol>(code.symbols[code.start[bits] + rank]);
  };
  Symbol* out = symbols.data();
  Symbol* const end = out + symbols.size();
  constexpr unsigned kLookups = 5;  // 55 of the 57 bits that a peek gives
  while (end - out >= static_cast<std::ptrdiff_t>(3 * kLookups)) {
    std::uint64_t window = reader.peek();
    const Symbol* const before = out;
    unsigned used = 0;
    for (unsigned i = 0; i < kLookups; ++i) {
      const DecodeTable::Entry& entry = table.entries[window & (table.entries.size() - 1)];
      for (unsigned j = 0; j < 3; ++j) out[j] = static_cast<Symbol>(entry.symbols[j]);
      out += entry.count;
      window >>= entry.bits;
      used += entry.bits;
    }
    reader.skip(used);
    if (out == before) *out++ = decode_one();
  }
  while (out < end) *out++ = decode_one();

  if (reader.size_bytes() != length) {
    throw FormatError(name + " has " + std::to_string(length) + " bytes, but its " + std::to_string(symbols.size()) +
                      " symbols take " + std::to_string(reader.size_bytes()));
  }
  if (!reader.padding_is_zero()) throw FormatError(name + " has padding bits that are not zero");
}

}  // namespace

void decode_symbols(std::span<const std::uint8_t> data, std::size_t offset, std::size_t length,
                    std::span<const std::uint8_t> lengths, std::span<std::uint16_t> symbols) {
  decode_stream(data, offset, length, lengths, symbols);
}

void decode_symbols(std::span<const std::uint8_t> data, std::size_t offset, std::size_t length,
                    std::span<const std::uint8_t> lengths, std::span<std::uint8_t> symbols) {
  decode_stream(data, offset, length, lengths, symbols);
}

}  // namespace dcz
