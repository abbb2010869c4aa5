// Huffman-coded symbols in 64 lanes, read by one kernel for each instruction set (docs/format.md, "Lanes").
//
// A segment is decoded in rounds. In each round lane l gives the symbols l*turn .. l*turn + turn - 1 of that round: the
// output is in natural order. A lane sees its code bits through a window of 8 bytes. Before each round but the first
// the windows slide over the whole bytes that were used up. The bytes that slide in come next in the segment, lane
// after lane.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/kernels.hpp"

namespace dcz {

inline constexpr std::size_t kLanes = 64;
inline constexpr std::size_t kWindowBytes = 8;
inline constexpr unsigned kPrefixBits = 8;

// The symbols that a lane gives in a round, and the bits of the longest code. A turn's codes and 7 bits left over from
// the round before must fit a window.
struct LaneLayout {
  unsigned turn, longest_code;
  std::size_t round() const { return turn * kLanes; }
};
inline constexpr LaneLayout kNarrow{8, 7};
inline constexpr LaneLayout kWide{4, 14};

// A complete code of at least two symbols, as the kernels use it. In `kWide` all codes that begin with the same 8 bits
// have the same length.
struct LaneCode {
  LaneLayout layout;
  std::array<std::uint8_t, 256> lengths;        // 0 for a symbol without a code
  std::array<std::uint16_t, 256> bits;          // the code, its first bit lowest
  std::array<std::uint16_t, 1u << 14> singles;  // the next 14 bits -> symbol << 8 | length
};

// `count` symbols, which take the bytes from `begin` to `end`.
struct LaneSegment {
  const std::uint8_t* begin;
  const std::uint8_t* end;
  std::uint8_t* symbols;
  std::size_t count;
};

// The state between two rounds: the unused bits of each lane's window, and the number of used ones.
struct LaneState {
  std::array<std::uint64_t, kLanes> unused, used_bits;
  const std::uint8_t* next;  // the byte that slides in first
};

// True if each segment's bytes are exactly those of its symbols. Reads nothing at or behind `readable_end`.
using DecodeLanes = bool(const LaneCode& code, std::span<const LaneSegment> segments, const std::uint8_t* readable_end);

DecodeLanes decode_lanes_portable, decode_lanes_avx2, decode_lanes_avx512;

inline constexpr KernelTable<DecodeLanes> kDecodeLanes{.portable = decode_lanes_portable,
                                                       .avx2 = DCZ_IF_X86(decode_lanes_avx2),
                                                       .avx512 = DCZ_IF_X86(decode_lanes_avx512)};

// Begins a segment; false if it is too short for its first windows.
bool start_lanes(const LaneSegment& segment, LaneState& state);

// Decodes the last rounds of a segment, where kernels would read too far: the symbols from number `done` on, one by one
// and with every byte checked. Checks the segment's end.
bool finish_lanes(const LaneCode& code, const LaneSegment& segment, LaneState& state, std::size_t done);

}  // namespace dcz
