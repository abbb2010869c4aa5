// Huffman codes for lanes: chosen for counts, checked when read.
#include "lanes/code.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "common/bits.hpp"
#include "huffman/canonical_code.hpp"
#include "huffman/huffman.hpp"

namespace dcz {
namespace {

// About two bytes for the distance and symbol of an exception.
constexpr std::uint64_t kExceptionBits = 16;

// More exceptions than one symbol in so many would slow the decoder down.
constexpr std::uint64_t kSymbolsPerException = 64;

// The symbols that occur, the most frequent first.
std::vector<std::size_t> by_frequency(std::span<const std::uint64_t> counts) {
  std::vector<std::size_t> symbols(counts.size());
  std::iota(symbols.begin(), symbols.end(), std::size_t{0});
  std::erase_if(symbols, [&](std::size_t symbol) { return counts[symbol] == 0; });
  std::stable_sort(symbols.begin(), symbols.end(), [&](auto a, auto b) { return counts[a] > counts[b]; });
  return symbols;
}

}  // namespace

std::vector<std::uint8_t> narrow_lengths(std::span<const std::uint64_t> counts) {
  const auto order = by_frequency(counts);
  const std::uint64_t all = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  std::vector<std::uint64_t> coded(counts.begin(), counts.end());
  std::vector<std::uint8_t> best;
  std::uint64_t best_bits = 0, exceptions = 0;
  for (std::size_t kept = order.size(); kept >= 2; --kept) {
    if (kept < order.size()) {
      // An exception is written as the most frequent symbol and listed.
      const std::uint64_t rarest = std::exchange(coded[order[kept]], 0);
      coded[order[0]] += rarest;
      exceptions += rarest;
    }
    if (exceptions > all / kSymbolsPerException) break;
    if (kept > std::size_t{1} << kNarrow.longest_code) continue;
    const auto lengths = code_lengths(coded, kNarrow.longest_code);
    const std::uint64_t bits = bits_of(coded, lengths) + exceptions * kExceptionBits;
    if (best.empty() || bits < best_bits) {
      best = lengths;
      best_bits = bits;
    }
  }
  return best;
}

std::vector<std::uint8_t> wide_lengths(std::span<const std::uint64_t> counts) {
  // There are 256 prefixes of 8 bits. A code of l <= 8 bits takes 2^(8 - l) of them; one prefix alone can hold 2^e
  // codes of 8 + e bits. cost[i][p] is the least number of bits for all symbols from rank i on with p prefixes left.
  constexpr std::size_t kPrefixes = std::size_t{1} << kPrefixBits;
  constexpr std::uint64_t kImpossible = ~std::uint64_t{0};
  struct Choice {
    std::uint64_t cost = kImpossible;
    unsigned length = 0;
  };
  const auto order = by_frequency(counts);
  std::vector<std::uint64_t> before{0};  // counts of the ranks before each
  for (const std::size_t symbol : order) before.push_back(before.back() + counts[symbol]);
  std::vector<std::array<Choice, kPrefixes + 1>> choices(order.size() + 1);
  const auto span_of = [](unsigned length) {
    const std::size_t codes = length > kPrefixBits ? std::size_t{1} << (length - kPrefixBits) : 1;
    const std::size_t prefixes = length < kPrefixBits ? std::size_t{1} << (kPrefixBits - length) : 1;
    return std::pair{codes, prefixes};
  };
  choices.back()[0].cost = 0;
  for (std::size_t rank = order.size(); rank-- > 0;) {
    for (unsigned length = 1; length <= kWide.longest_code; ++length) {
      const auto [codes, prefixes] = span_of(length);
      if (rank + codes > order.size()) break;
      const std::uint64_t bits = (before[rank + codes] - before[rank]) * length;
      for (std::size_t left = prefixes; left <= kPrefixes; ++left) {
        const std::uint64_t rest = choices[rank + codes][left - prefixes].cost;
        Choice& choice = choices[rank][left];
        if (rest != kImpossible && rest + bits < choice.cost) choice = {rest + bits, length};
      }
    }
  }
  std::vector<std::uint8_t> lengths(counts.size());
  for (std::size_t rank = 0, left = kPrefixes; rank < order.size();) {
    const unsigned length = choices[rank][left].length;
    const auto [codes, prefixes] = span_of(length);
    for (std::size_t i = 0; i < codes; ++i) lengths[order[rank++]] = static_cast<std::uint8_t>(length);
    left -= prefixes;
  }
  return lengths;
}

std::string flaw_of(std::span<const std::uint8_t> lengths, LaneLayout layout) {
  std::array<std::size_t, 17> count{};
  for (const std::uint8_t length : lengths) ++count[std::min<std::size_t>(length, 16)];
  for (std::size_t length = 1; length < count.size(); ++length) {
    if (count[length] == 0) continue;
    if (length > layout.longest_code) {
      return "it has codes of more than " + std::to_string(layout.longest_code) + " bits";
    }
    if (length > kPrefixBits && count[length] % (std::size_t{1} << (length - kPrefixBits)) != 0) {
      return "its " + std::to_string(count[length]) + " codes of " + std::to_string(length) +
             " bits do not share their first 8 with codes of that length alone";
    }
  }
  if (lengths.size() - count[0] < 2) return "it has less than two symbols";
  return CanonicalCode(lengths).flaw;
}

LaneCode make_lane_code(std::span<const std::uint8_t> lengths, LaneLayout layout) {
  LaneCode made{layout, {}, {}, {}};
  const CanonicalCode code(lengths);
  // Indexed by one more bit, the table repeats itself and gains the codes of this length.
  for (unsigned length = 1; length <= kWide.longest_code; ++length) {
    const std::size_t half = std::size_t{1} << (length - 1);
    std::copy_n(made.singles.begin(), half, made.singles.begin() + half);
    for (std::uint32_t i = code.start[length]; i < code.start[length + 1]; ++i) {
      const std::uint32_t symbol = code.symbols[i];
      const std::uint32_t bits = reverse_bits(code.first[length] + i - code.start[length], length);
      made.lengths[symbol] = static_cast<std::uint8_t>(length);
      made.bits[symbol] = static_cast<std::uint16_t>(bits);
      made.singles[bits] = static_cast<std::uint16_t>(symbol << 8 | length);
    }
  }
  return made;
}

}  // namespace dcz
