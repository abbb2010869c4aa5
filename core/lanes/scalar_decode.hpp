// Decodes lanes with ordinary registers. Each file for an instruction set of its own includes this once.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "common/bits.hpp"
#include "lanes/lanes.hpp"

namespace dcz {
namespace {

// The next 14 bits -> the two symbols that they always hold in narrow lanes, and their length.
struct PairTable {
  static constexpr std::uint64_t kMask = (1u << 14) - 1;
  std::uint8_t bits[kMask + 1];
  std::uint16_t symbols[kMask + 1];

  explicit PairTable(const LaneCode& code) {
    for (std::uint32_t window = 0; window <= kMask; ++window) {
      const std::uint16_t first = code.singles[window], second = code.singles[window >> (first & 0xff)];
      bits[window] = static_cast<std::uint8_t>(first + second);
      symbols[window] = static_cast<std::uint16_t>(first >> 8 | (second & 0xff00));
    }
  }
};

// Above all lengths of a turn: marks a code that a small table does not hold.
constexpr std::uint64_t kUnfit = 0x40;

// The next 12 bits -> symbol << 8 | length: small enough for any first cache.
struct ShortTable {
  static constexpr std::uint64_t kMask = (1u << 12) - 1;
  std::uint16_t singles[1u << 12];

  explicit ShortTable(const LaneCode& code) {
    for (std::uint32_t window = 0; window <= kMask; ++window) {
      const bool fits = (code.singles[window] & 0xff) <= 12;
      singles[window] = fits ? code.singles[window] : static_cast<std::uint16_t>(kUnfit);
    }
  }
};

inline void store16(std::uint8_t* out, std::uint16_t value) { std::memcpy(out, &value, 2); }

// Slides as many bytes into a window as were used up.
inline std::uint64_t slide(std::uint64_t unused, std::uint64_t used, const std::uint8_t*& next) {
  const std::uint64_t fresh = load_le64(next) & ~(~std::uint64_t{0} << (used & 56));
  next += used >> 3;
  return unused | fresh << ((0 - used) & 63);
}

inline void narrow_turn(const LaneCode&, const PairTable& table, std::uint64_t& unused, std::uint64_t& used,
                        const std::uint8_t*& next, std::uint8_t* out) {
  std::uint64_t bits = slide(unused, used, next), sum = 0;
  for (unsigned i = 0; i < kNarrow.turn; i += 2) {
    const std::uint64_t index = bits & table.kMask, both = table.bits[index];
    store16(out + i, table.symbols[index]);
    bits >>= both & 63;
    sum += both;
  }
  unused = bits;
  used = (used & 7) + sum;
}

// A turn with the table of all codes. It is rare, so it is out of line.
[[gnu::noinline]] std::uint64_t wide_turn_by_all(const LaneCode& code, std::uint64_t bits, std::uint8_t* out,
                                                 std::uint64_t& rest) {
  std::uint64_t sum = 0;
  for (unsigned i = 0; i < kWide.turn; ++i) {
    const std::uint16_t single = code.singles[bits % code.singles.size()];
    out[i] = static_cast<std::uint8_t>(single >> 8);
    bits >>= single & 0xff;
    sum += single & 0xff;
  }
  rest = bits;
  return sum;
}

inline void wide_turn(const LaneCode& code, const ShortTable& table, std::uint64_t& unused, std::uint64_t& used,
                      const std::uint8_t*& next, std::uint8_t* out) {
  const std::uint64_t window = slide(unused, used, next);
  std::uint64_t bits = window, sum = 0;
  for (unsigned i = 0; i < kWide.turn; ++i) {
    const std::uint16_t single = table.singles[bits & table.kMask];
    out[i] = static_cast<std::uint8_t>(single >> 8);
    bits >>= single & 63;
    sum += single & 0xff;
  }
  if (sum >= kUnfit) [[unlikely]]
    sum = wide_turn_by_all(code, window, out, bits);
  unused = bits;
  used = (used & 7) + sum;
}

// Runs all whole rounds that cannot read at or behind `readable_end`; `finish_lanes` does the rest.
template <unsigned Turn, typename TakeTurn>
bool decode_segment(const LaneCode& code, const LaneSegment& segment, const std::uint8_t* readable_end,
                    const TakeTurn& take_turn) {
  LaneState state;
  if (!start_lanes(segment, state)) return false;
  constexpr std::size_t kRound = Turn * kLanes;
  const std::ptrdiff_t reach = kLanes * (kWindowBytes - 1) + kWindowBytes;
  std::size_t done = 0;
  for (; segment.count - done >= kRound && readable_end - state.next >= reach; done += kRound) {
    std::uint8_t* const out = segment.symbols + done;
    const std::uint8_t* next = state.next;
    // Copies, since for the compiler a byte that is written may change anything.
    const TakeTurn take = take_turn;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      std::uint64_t unused = state.unused[lane], used = state.used_bits[lane];
      take(unused, used, next, out + lane * Turn);
      state.unused[lane] = unused;
      state.used_bits[lane] = used;
    }
    state.next = next;
  }
  return finish_lanes(code, segment, state, done);
}

template <unsigned Turn, typename Table, typename TakeTurn>
bool decode_segments(const LaneCode& code, std::span<const LaneSegment> segments, const std::uint8_t* readable_end,
                     const TakeTurn& take_turn) {
  const auto owned = std::make_unique<Table>(code);
  const Table* const table = owned.get();
  const auto take = [&code, table, take_turn](auto&&... lane) { take_turn(code, *table, lane...); };
  bool exact = true;
  for (const LaneSegment& segment : segments) exact &= decode_segment<Turn>(code, segment, readable_end, take);
  return exact;
}

bool decode_lanes_scalar(const LaneCode& code, std::span<const LaneSegment> segments,
                         const std::uint8_t* readable_end) {
  if (code.layout.turn == kNarrow.turn) {
    return decode_segments<kNarrow.turn, PairTable>(code, segments, readable_end,
                                                    [](auto&&... turn) { narrow_turn(turn...); });
  }
  return decode_segments<kWide.turn, ShortTable>(code, segments, readable_end,
                                                 [](auto&&... turn) { wide_turn(turn...); });
}

}  // namespace
}  // namespace dcz
