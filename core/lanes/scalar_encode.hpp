// Writes lanes with ordinary registers. Each file for an instruction set of its own includes this once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/bits.hpp"
#include "lanes/encoder.hpp"

namespace dcz {
namespace {

// One lane's code bits that do not fill a byte yet, and the place of its next bytes.
struct LaneWriter {
  std::uint8_t* out;
  std::uint64_t pending, pending_bits;
};

// The codes of some symbols, one behind the other. `sum` has their bits in its low byte and their exceptions above it.
struct Turn {
  std::uint64_t bits = 0, sum = 0;

  void add(std::uint32_t piece) {
    bits |= std::uint64_t{piece & 0xffff} << (sum & 63);
    sum += piece >> 16;
  }
};

inline Turn turn_by_pairs(const std::uint32_t* pairs, const std::uint8_t* symbols) {
  const std::uint64_t eight = load_le64(symbols);
  const std::uint64_t packed = (eight & 0x003f003f003f003f) | (eight >> 2 & 0x0fc00fc00fc00fc0);
  Turn turn;
#pragma GCC unroll 4
  for (unsigned i = 0; i < 4; ++i) turn.add(pairs[packed >> (16 * i) & 0xfff]);
  return turn;
}

template <unsigned Symbols>
inline Turn turn_by_pieces(const std::uint32_t* pieces, const std::uint8_t* symbols) {
  Turn turn;
#pragma GCC unroll 8
  for (unsigned i = 0; i < Symbols; ++i) turn.add(pieces[symbols[i]]);
  return turn;
}

// Gives the entry of `turns`.
inline std::uint8_t write_turn(LaneWriter& lane, const Turn& turn) {
  const std::uint64_t bits = lane.pending | turn.bits << lane.pending_bits;
  const std::uint64_t width = lane.pending_bits + (turn.sum & 0xff);
  store_le64(lane.out, bits);
  lane.out += width / 8;
  lane.pending = bits >> (width & 56);
  lane.pending_bits = width % 8;
  return static_cast<std::uint8_t>(width / 8 | (turn.sum >= 256 ? kOddTurn : 0));
}

inline void begin_lanes(LaneWriter* lanes, const LaneBuffers& buffers) {
  for (std::size_t i = 0; i < kLanes; ++i) lanes[i] = {buffers.bytes + i * buffers.lane_bytes, 0, 0};
}

// Writes all turns from number `turn` on, also a last one that is not whole, and ends the lanes.
template <unsigned Symbols, typename TakeTurn>
void write_turns(const LaneTable& table, std::span<const std::uint8_t> symbols, std::size_t turn, LaneWriter* lanes,
                 std::uint8_t* turns, const TakeTurn& take_turn) {
  const std::size_t whole = symbols.size() / Symbols;
  const std::uint8_t* const from = symbols.data();
  for (; turn < whole; ++turn) turns[turn] = write_turn(lanes[turn % kLanes], take_turn(from + turn * Symbols));
  if (whole * Symbols < symbols.size()) {
    Turn rest;
    for (std::size_t i = whole * Symbols; i < symbols.size(); ++i) rest.add(table.pieces[from[i]]);
    turns[whole] = write_turn(lanes[whole % kLanes], rest);
  }
  for (std::size_t i = 0; i < kLanes; ++i) {
    store_le64(lanes[i].out, lanes[i].pending);
    store_le64(lanes[i].out + 8, 0);
  }
}

inline void write_rest(const LaneTable& table, std::span<const std::uint8_t> symbols, std::size_t turn,
                       LaneWriter* lanes, std::uint8_t* turns) {
  const std::uint32_t *const pieces = table.pieces, *const pairs = table.pairs;
  if (table.layout.turn == kWide.turn) {
    write_turns<kWide.turn>(table, symbols, turn, lanes, turns,
                            [=](const std::uint8_t* s) { return turn_by_pieces<kWide.turn>(pieces, s); });
  } else if (pairs) {
    write_turns<kNarrow.turn>(table, symbols, turn, lanes, turns,
                              [=](const std::uint8_t* s) { return turn_by_pairs(pairs, s); });
  } else {
    write_turns<kNarrow.turn>(table, symbols, turn, lanes, turns,
                              [=](const std::uint8_t* s) { return turn_by_pieces<kNarrow.turn>(pieces, s); });
  }
}

inline void write_lanes_scalar(const LaneTable& table, std::span<const std::uint8_t> symbols,
                               const LaneBuffers& buffers) {
  LaneWriter lanes[kLanes];
  begin_lanes(lanes, buffers);
  write_rest(table, symbols, 0, lanes, buffers.turns);
}

}  // namespace
}  // namespace dcz
