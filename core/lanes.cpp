// Segments of lanes: how they begin, how they end, and how they are written. The rounds in between are the kernels'.
#include "lanes.hpp"

#include <algorithm>

#include "bits.hpp"

namespace dcz {

bool start_lanes(const LaneSegment& segment, LaneState& state) {
  if (static_cast<std::size_t>(segment.end - segment.begin) < kLanes * kWindowBytes) return false;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    state.unused[lane] = load_le64(segment.begin + lane * kWindowBytes);
    state.used_bits[lane] = 0;
  }
  state.next = segment.begin + kLanes * kWindowBytes;
  return true;
}

bool finish_lanes(const LaneCode& code, const LaneSegment& segment, LaneState& state, std::size_t done) {
  while (done < segment.count) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const std::uint64_t bytes = state.used_bits[lane] / 8;
      if (state.next > segment.end || static_cast<std::uint64_t>(segment.end - state.next) < bytes) return false;
      std::uint64_t& unused = state.unused[lane];
      std::uint64_t& used = state.used_bits[lane];
      for (std::uint64_t i = 0; i < bytes; ++i, used -= 8) unused |= std::uint64_t{*state.next++} << (64 - used);
      for (unsigned i = 0; i < code.layout.turn && done < segment.count; ++i) {
        const std::uint16_t single = code.singles[unused & (code.singles.size() - 1)];
        segment.symbols[done++] = static_cast<std::uint8_t>(single >> 8);
        unused >>= single & 0xff;
        used += single & 0xff;
      }
    }
  }
  // What the windows still hold is padding.
  return state.next == segment.end &&
         std::all_of(state.unused.begin(), state.unused.end(), [](std::uint64_t bits) { return bits == 0; });
}

namespace {

constexpr std::uint32_t kException = 1u << 24;
constexpr std::size_t kPaired = 64;  // symbols below it are looked up in pairs

// The codes of some symbols, one behind the other; their bits in the low byte of `sum`, above it their exceptions.
struct Turn {
  std::uint64_t bits = 0, sum = 0;

  void add(std::uint32_t piece) {
    bits |= std::uint64_t{piece & 0xffff} << (sum & 63);
    sum += piece >> 16;
  }
};

Turn turn_by_pairs(const std::uint32_t* pairs, const std::uint8_t* symbols) {
  const std::uint64_t eight = load_le64(symbols);
  const std::uint64_t packed = (eight & 0x003f003f003f003f) | (eight >> 2 & 0x0fc00fc00fc00fc0);
  Turn turn;
#pragma GCC unroll 4
  for (unsigned i = 0; i < 4; ++i) turn.add(pairs[packed >> (16 * i) & 0xfff]);
  return turn;
}

template <unsigned Symbols>
Turn turn_by_singles(const std::uint32_t* pieces, const std::uint8_t* symbols) {
  Turn turn;
#pragma GCC unroll 8
  for (unsigned i = 0; i < Symbols; ++i) turn.add(pieces[symbols[i]]);
  return turn;
}

}  // namespace

LaneEncoder::LaneEncoder(const LaneCode& code, std::uint8_t stand_in, std::size_t symbols_below,
                         std::size_t most_symbols)
    : layout_(code.layout) {
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
  slid_ = std::make_unique_for_overwrite<std::uint8_t[]>(rounds * kLanes);
}

template <unsigned Symbols, typename TakeTurn>
void LaneEncoder::write_lanes(std::span<const std::uint8_t> symbols, const TakeTurn& take_turn,
                              std::vector<std::size_t>& exceptions) {
  std::array<Lane, kLanes> lanes;
  for (std::size_t i = 0; i < kLanes; ++i) lanes[i] = {lane_start(i), 0, 0};
  const auto write = [](Lane& lane, const Turn& turn) {
    const std::uint64_t bits = lane.pending | turn.bits << lane.pending_bits;
    const std::uint64_t width = lane.pending_bits + (turn.sum & 0xff);
    store_le64(lane.out, bits);
    lane.out += width / 8;
    lane.pending = bits >> (width & 56);
    lane.pending_bits = width % 8;
    return static_cast<std::uint8_t>(width / 8);
  };
  std::uint8_t* const slid = slid_.get();
  const std::size_t turns = symbols.size() / Symbols;
  const auto note = [&](std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) {
      if (pieces_[symbols[i]] & kException) exceptions.push_back(i);
    }
  };
  for (std::size_t number = 0; number < turns; ++number) {
    const Turn turn = take_turn(symbols.data() + number * Symbols);
    slid[number] = write(lanes[number % kLanes], turn);
    if (turn.sum >= 256) [[unlikely]]
      note(number * Symbols, (number + 1) * Symbols);
  }
  Turn rest;
  for (std::size_t i = turns * Symbols; i < symbols.size(); ++i) rest.add(pieces_[symbols[i]]);
  note(turns * Symbols, symbols.size());
  write(lanes[turns % kLanes], rest);
  for (const Lane& lane : lanes) {
    store_le64(lane.out, lane.pending);
    store_le64(lane.out + 8, 0);
  }
}

void LaneEncoder::append(std::span<const std::uint8_t> symbols, std::size_t first, std::vector<std::uint8_t>& out,
                         std::vector<std::size_t>& exceptions) {
  const std::size_t known = exceptions.size();
  const std::uint32_t *const pieces = pieces_.data(), *const pairs = pairs_.data();
  if (layout_.turn == kWide.turn) {
    write_lanes<kWide.turn>(
        symbols, [=](const std::uint8_t* s) { return turn_by_singles<kWide.turn>(pieces, s); }, exceptions);
  } else if (!pairs_.empty()) {
    write_lanes<kNarrow.turn>(symbols, [=](const std::uint8_t* s) { return turn_by_pairs(pairs, s); }, exceptions);
  } else {
    write_lanes<kNarrow.turn>(
        symbols, [=](const std::uint8_t* s) { return turn_by_singles<kNarrow.turn>(pieces, s); }, exceptions);
  }
  for (std::size_t i = known; i < exceptions.size(); ++i) exceptions[i] += first;

  // The windows first, then what slides into them.
  const std::size_t rounds = (symbols.size() + layout_.round() - 1) / layout_.round(), start = out.size();
  out.resize(start + kLanes * lane_bytes_ + kWindowBytes);
  std::uint8_t* to = out.data() + start;
  std::array<const std::uint8_t*, kLanes> next;
  for (std::size_t lane = 0; lane < kLanes; ++lane, to += kWindowBytes) {
    std::copy_n(lane_start(lane), kWindowBytes, to);
    next[lane] = lane_start(lane) + kWindowBytes;
  }
  for (std::size_t i = 0; i + kLanes < rounds * kLanes; ++i) {
    const std::uint8_t*& from = next[i % kLanes];
    store_le64(to, load_le64(from));
    to += slid_[i];
    from += slid_[i];
  }
  out.resize(static_cast<std::size_t>(to - out.data()));
}

}  // namespace dcz
