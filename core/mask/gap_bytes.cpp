// Bit sequences as gaps between ones. Gaps too long for a symbol have an escape.
#include "mask/gap_bytes.hpp"

#include <algorithm>
#include <string>

#include "block/block.hpp"
#include "block/groups.hpp"
#include "common/error.hpp"
#include "common/fields.hpp"

namespace dcz {
namespace {

// Calls use(gap) for the number of zeros between each one and the one before.
template <typename Use>
void each_gap(const Bitmap& sequence, Use use) {
  std::uint64_t next = 0;
  sequence.each([&](std::uint64_t one) {
    use(one - next);
    next = one + 1;
  });
}

std::vector<std::uint8_t> gap_symbols(const Bitmap& sequence, unsigned escape) {
  std::vector<std::uint8_t> symbols;
  symbols.reserve(static_cast<std::size_t>(sequence.count()) * 5 / 4);
  each_gap(sequence, [&](std::uint64_t gap) {
    for (; gap >= escape; gap -= escape) symbols.push_back(static_cast<std::uint8_t>(escape));
    symbols.push_back(static_cast<std::uint8_t>(gap));
  });
  return symbols;
}

// Sets the ones of a sequence, as its symbols say.
class Walk {
 public:
  Walk(Bitmap& sequence, unsigned escape) : sequence_(sequence), escape_(escape) {}

  // Walks in several places at once: a step need not wait for the byte that the step before has just written.
  void go(std::span<const std::uint8_t> symbols) {
    constexpr std::size_t kWalkers = 2;
    const std::size_t each = symbols.size() / kWalkers;
    std::array<std::uint64_t, kWalkers> at{};
    for (std::size_t w = 0; w < kWalkers; ++w) {
      at[w] = at_;
      pass(symbols.subspan(w * each, each));
    }
    std::uint8_t* const bits = sequence_.data();
    for (std::size_t i = 0; i < each; ++i) {
      for (std::size_t w = 0; w < kWalkers; ++w) step(bits, at[w], symbols[w * each + i]);
    }
    const auto rest = symbols.subspan(kWalkers * each);
    std::uint64_t last = at_;
    pass(rest);
    for (const std::uint8_t symbol : rest) step(bits, last, symbol);
  }

 private:
  void step(std::uint8_t* bits, std::uint64_t& at, std::uint8_t symbol) const {
    at += symbol;
    const unsigned one = symbol != escape_;
    bits[at / 8] = static_cast<std::uint8_t>(bits[at / 8] | one << (at % 8));
    at += one;
  }

  // Checks that the symbols stay within the sequence, and moves behind them.
  void pass(std::span<const std::uint8_t> symbols) {
    std::uint64_t steps = 0;
    for (const std::uint8_t symbol : symbols) steps += symbol + unsigned{symbol != escape_};
    if (steps > sequence_.size() - at_) {
      throw FormatError("gaps lead to element " + std::to_string(at_ + steps) + " of a sequence of " +
                        std::to_string(sequence_.size()));
    }
    at_ += steps;
  }

  Bitmap& sequence_;
  unsigned escape_;
  std::uint64_t at_ = 0;
};

}  // namespace

GapHistogram::GapHistogram(const Bitmap& sequence) {
  each_gap(sequence, [&](std::uint64_t gap) {
    ++(gap <= kMaxEscape ? short_[gap] : long_[gap]);
    ++ones_;
  });
}

unsigned GapHistogram::useful_escape() const {
  if (!long_.empty()) return kMaxEscape;
  unsigned escape = kMaxEscape;
  while (escape > 1 && short_[escape - 1] == 0) --escape;
  return escape;
}

std::vector<std::uint64_t> GapHistogram::symbol_counts(unsigned escape) const {
  std::vector<std::uint64_t> counts(escape + 1);
  const auto add = [&](std::uint64_t gap, std::uint64_t count) {
    counts[static_cast<std::size_t>(gap % escape)] += count;
    counts[escape] += gap / escape * count;
  };
  for (std::size_t gap = 0; gap < short_.size(); ++gap) add(gap, short_[gap]);
  for (const auto& [gap, count] : long_) add(gap, count);
  return counts;
}

void put_gaps(std::vector<std::uint8_t>& bytes, const Bitmap& sequence, unsigned escape) {
  const auto symbols = gap_symbols(sequence, escape);
  bytes.push_back(static_cast<std::uint8_t>(escape));
  put_varint(bytes, symbols.size());
  append(bytes, encode_block(symbols));
}

void take_gaps(std::span<const std::uint8_t> data, std::size_t& offset, unsigned threads, Bitmap& sequence) {
  const unsigned escape = take_u8(data, offset, "the escape of gaps");
  if (escape == 0) throw FormatError("the escape before byte " + std::to_string(offset) + " is 0");
  const std::uint64_t count = take_varint(data, offset, "number of gaps");
  // Every symbol moves on by at least one element.
  if (count > sequence.size()) {
    throw FormatError(std::to_string(count) + " gaps are claimed for " + std::to_string(sequence.size()) + " elements");
  }
  Walk walk(sequence, escape);
  unsigned last = 0;
  each_group(data, offset, static_cast<std::size_t>(count), escape + 1, threads,
             [&](std::span<const std::uint8_t> symbols) {
               // Short enough to stay in the fastest cache between check and use.
               constexpr std::size_t kStride = 8192;
               for (std::size_t i = 0; i < symbols.size(); i += kStride) {
                 walk.go(symbols.subspan(i, std::min(kStride, symbols.size() - i)));
               }
               last = symbols.back();
             });
  if (last == escape) throw FormatError("the last gap is an escape");
}

}  // namespace dcz
