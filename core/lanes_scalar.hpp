// Decodes lanes with ordinary registers: included once by each file that is compiled for an instruction set of its own.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "bits.hpp"
#include "lanes.hpp"

namespace dcz {
namespace {

constexpr std::uint64_t kUnfit = 0x40;

// The next `kIndexBits` bits -> two symbols and their length; `kUnfit` where the bits do not hold two.
template <unsigned IndexBits>
struct PairTable {
  static constexpr std::uint64_t kMask = (1u << IndexBits) - 1;
  std::uint8_t bits[1u << IndexBits];
  std::uint16_t symbols[1u << IndexBits];

  explicit PairTable(const LaneCode& code) {
    for (std::uint32_t window = 0; window <= kMask; ++window) {
      const std::uint16_t first = code.singles[window & 0xfff];
      const std::uint16_t second = code.singles[(window >> (first & 0xff)) & 0xfff];
      const unsigned both = (first & 0xffu) + (second & 0xffu);
      bits[window] = static_cast<std::uint8_t>(both <= IndexBits ? both : kUnfit);
      symbols[window] = static_cast<std::uint16_t>(first >> 8 | (second & 0xff00));
    }
  }
};

inline void store16(std::uint8_t* out, std::uint16_t value) { std::memcpy(out, &value, 2); }

// Slides the bytes into a window that were used up.
inline std::uint64_t slide(std::uint64_t unused, std::uint64_t used, const std::uint8_t*& next) {
  const std::uint64_t fresh = load_le64(next) & ~(~std::uint64_t{0} << (used & 56));
  next += used >> 3;
  return unused | fresh << ((0 - used) & 63);
}

// Eight symbols by four look-ups. Out of line: it is rare that a pair does not fit.
[[gnu::noinline]] std::uint64_t turn_by_singles(const LaneCode& code, std::uint64_t unused, std::uint8_t* out,
                                                std::uint64_t& rest) {
  std::uint64_t used = 0;
  for (unsigned i = 0; i < kNarrow.turn; ++i) {
    const std::uint16_t single = code.singles[unused & 0xfff];
    out[i] = static_cast<std::uint8_t>(single >> 8);
    unused >>= single & 0xff;
    used += single & 0xff;
  }
  rest = unused;
  return used;
}

template <unsigned IndexBits>
inline void narrow_turn(const LaneCode& code, const PairTable<IndexBits>& table, std::uint64_t& unused,
                        std::uint64_t& used, const std::uint8_t*& next, std::uint8_t* out) {
  const std::uint64_t window = slide(unused, used, next);
  std::uint64_t bits = window, sum = 0;
  for (unsigned i = 0; i < kNarrow.turn; i += 2) {
    const std::uint64_t index = bits & table.kMask;
    const std::uint64_t both = table.bits[index];
    store16(out + i, table.symbols[index]);
    bits >>= both & 63;
    sum += both;
  }
  used &= 7;
  if (sum >= kUnfit) [[unlikely]] {
    used += turn_by_singles(code, window, out, unused);
  } else {
    used += sum;
    unused = bits;
  }
}

inline void wide_turn(const LaneCode& code, std::uint64_t& unused, std::uint64_t& used, const std::uint8_t*& next,
                      std::uint8_t* out) {
  std::uint64_t bits = slide(unused, used, next), sum = 0;
  for (unsigned i = 0; i < kWide.turn; ++i) {
    const std::uint16_t single = code.singles[bits & 0xfff];
    out[i] = static_cast<std::uint8_t>(single >> 8);
    bits >>= single & 0xff;
    sum += single & 0xff;
  }
  unused = bits;
  used = (used & 7) + sum;
}

// Runs all rounds but those that could read at or behind `readable_end`, and the last one if it is not whole.
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
    std::uint64_t* const unused = state.unused.data();
    std::uint64_t* const used = state.used_bits.data();
#pragma GCC unroll 4
    for (std::size_t lane = 0; lane < kLanes; ++lane) take_turn(unused[lane], used[lane], next, out + lane * Turn);
    state.next = next;
  }
  return finish_lanes(code, segment, state, done);
}

template <unsigned IndexBits>
bool decode_narrow(const LaneCode& code, std::span<const LaneSegment> segments, const std::uint8_t* readable_end) {
  const auto table = std::make_unique<PairTable<IndexBits>>(code);
  for (const LaneSegment& segment : segments) {
    const bool exact = decode_segment<kNarrow.turn>(code, segment, readable_end,
                                                    [&](auto&&... lane) { narrow_turn(code, *table, lane...); });
    if (!exact) return false;
  }
  return true;
}

bool decode_lanes_scalar(const LaneCode& code, std::span<const LaneSegment> segments,
                         const std::uint8_t* readable_end) {
  if (code.layout.turn == kNarrow.turn) return decode_narrow<13>(code, segments, readable_end);
  for (const LaneSegment& segment : segments) {
    const bool exact =
        decode_segment<kWide.turn>(code, segment, readable_end, [&](auto&&... lane) { wide_turn(code, lane...); });
    if (!exact) return false;
  }
  return true;
}

}  // namespace
}  // namespace dcz
