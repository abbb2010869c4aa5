// Writes segments of lanes: the tables, and the lanes' bytes in the order in which windows take them.
#include "lanes/encoder.hpp"

#include <algorithm>

#include "common/bits.hpp"

namespace dcz {

LaneEncoder::LaneEncoder(const LaneCode& code, std::uint8_t stand_in, std::size_t symbols_below,
                         std::size_t most_symbols)
    : layout_(code.layout), symbols_below_(symbols_below) {
  for (std::size_t symbol = 0; symbol < pieces_.size(); ++symbol) {
    const bool exception = code.lengths[symbol] == 0;
    const std::size_t coded = exception ? stand_in : symbol;
    pieces_[symbol] = code.bits[coded] | std::uint32_t{code.lengths[coded]} << 16 | (exception ? kException : 0);
  }
  if (symbols_below <= kPaired && layout_.turn == kNarrow.turn) {
    pairs_.resize(kPaired * kPaired);
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      const std::uint32_t a = pieces_[i % kPaired], b = pieces_[i / kPaired], a_length = a >> 16 & 0xff;
      pairs_[i] = (a & 0xffff) | (b & 0xffff) << a_length | (a_length + (b >> 16 & 0xff)) << 16 |
                  ((a & kException) + (b & kException));
    }
  }
  const std::size_t rounds = (most_symbols + layout_.round() - 1) / layout_.round();
  lane_bytes_ = rounds * (kWindowBytes - 1) + 2 * kWindowBytes;
  bytes_ = std::make_unique_for_overwrite<std::uint8_t[]>(kLanes * lane_bytes_ + kWindowBytes);
  turns_ = std::make_unique_for_overwrite<std::uint8_t[]>(rounds * kLanes);
}

void LaneEncoder::append(std::span<const std::uint8_t> symbols, std::size_t first, std::vector<std::uint8_t>& out,
                         std::vector<std::size_t>& exceptions) {
  const LaneTable table{layout_, pieces_.data(), pairs_.empty() ? nullptr : pairs_.data(), symbols_below_};
  kWriteLanes.in_use()(table, symbols, {bytes_.get(), lane_bytes_, turns_.get()});

  const std::size_t turns = (symbols.size() + layout_.turn - 1) / layout_.turn;
  for (std::size_t turn = 0; turn < turns; ++turn) {
    if ((turns_[turn] & kOddTurn) == 0) continue;
    turns_[turn] &= static_cast<std::uint8_t>(~kOddTurn);
    const std::size_t begin = turn * layout_.turn, end = std::min(symbols.size(), begin + layout_.turn);
    for (std::size_t i = begin; i < end; ++i) {
      if (pieces_[symbols[i]] & kException) exceptions.push_back(first + i);
    }
  }
  interleave((symbols.size() + layout_.round() - 1) / layout_.round(), out);
}

// The windows first, then the bytes that slide into them.
void LaneEncoder::interleave(std::size_t rounds, std::vector<std::uint8_t>& out) const {
  const std::size_t start = out.size(), slides = (rounds - 1) * kLanes;
  std::size_t bytes = kLanes * kWindowBytes;
  for (std::size_t i = 0; i < slides; ++i) bytes += turns_[i];
  out.resize(start + bytes + kWindowBytes);
  std::uint8_t* to = out.data() + start;
  std::array<const std::uint8_t*, kLanes> next;
  for (std::size_t lane = 0; lane < kLanes; ++lane, to += kWindowBytes) {
    const std::uint8_t* const begin = bytes_.get() + lane * lane_bytes_;
    std::copy_n(begin, kWindowBytes, to);
    next[lane] = begin + kWindowBytes;
  }
  const std::uint8_t* const turns = turns_.get();
  for (std::size_t i = 0; i < slides; ++i) {
    const std::uint8_t*& from = next[i % kLanes];
    store_le64(to, load_le64(from));
    to += turns[i];
    from += turns[i];
  }
  out.resize(start + bytes);
}

}  // namespace dcz
