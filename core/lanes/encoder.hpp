// Writes segments of lanes, by one kernel for each instruction set.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lanes/lanes.hpp"

namespace dcz {

inline constexpr std::uint32_t kException = 1u << 24;
inline constexpr std::size_t kPaired = 64;  // symbols below it are looked up in pairs

// Symbols -> codes. A piece is a code | its length << 16 | kException if the symbol has no code of its own.
struct LaneTable {
  LaneLayout layout;
  const std::uint32_t* pieces;  // of each of 256 symbols
  const std::uint32_t* pairs;   // of two symbols below 64, first | second << 6; null if there are others
  std::size_t symbols_below;    // all symbols are
};

// Lane l begins at bytes + l * lane_bytes; zeros for one window follow it. For each turn `turns` gets the number of
// bytes that it completed, and kOddTurn if it has an exception.
struct LaneBuffers {
  std::uint8_t* bytes;
  std::size_t lane_bytes;
  std::uint8_t* turns;
};
inline constexpr std::uint8_t kOddTurn = 0x80;

using WriteLanes = void(const LaneTable&, std::span<const std::uint8_t> symbols, const LaneBuffers&);

WriteLanes write_lanes_portable, write_lanes_avx2, write_lanes_avx512;

inline constexpr KernelTable<WriteLanes> kWriteLanes{
    .portable = write_lanes_portable, .avx2 = DCZ_IF_X86(write_lanes_avx2), .avx512 = DCZ_IF_X86(write_lanes_avx512)};

// Writes the segments of one block, with `stand_in`, which has a code, in place of symbols without one.
class LaneEncoder {
 public:
  // All symbols are below `symbols_below`; no segment has more than `most_symbols`.
  LaneEncoder(const LaneCode& code, std::uint8_t stand_in, std::size_t symbols_below, std::size_t most_symbols);

  // Appends a segment to `out`, and the numbers of its symbols without a code, counted from `first` on, to
  // `exceptions`.
  void append(std::span<const std::uint8_t> symbols, std::size_t first, std::vector<std::uint8_t>& out,
              std::vector<std::size_t>& exceptions);

 private:
  void interleave(std::size_t rounds, std::vector<std::uint8_t>& out) const;

  LaneLayout layout_;
  std::array<std::uint32_t, 256> pieces_;
  std::vector<std::uint32_t> pairs_;
  std::size_t symbols_below_, lane_bytes_;
  std::unique_ptr<std::uint8_t[]> bytes_, turns_;
};

}  // namespace dcz
