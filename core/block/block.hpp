// Blocks of byte symbols, entropy-coded in the layout that suits their number and counts (docs/format.md, "Block").
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lanes/lanes.hpp"

namespace dcz {

std::vector<std::uint8_t> encode_block(std::span<const std::uint8_t> symbols);

// Gives `count` symbols from number `first` on, at most a few million. They stay until the next call.
using SymbolSource = std::function<std::span<const std::uint8_t>(std::size_t first, std::size_t count)>;

// The same for symbols that need not lie behind one another.
std::vector<std::uint8_t> encode_block(const SymbolSource& source, std::size_t count);

// The bytes of `encode_block` for symbols with these counts, at most 256 of them. Exact to a few tenths of a percent.
std::uint64_t block_bytes(std::span<const std::uint64_t> counts);

// What a decoder elsewhere, such as a GPU's, needs of a block in lanes.
struct LaneBlock {
  LaneLayout layout;
  std::vector<std::uint16_t> table;    // the next `longest_code` bits -> symbol << 8 | length
  std::vector<std::uint64_t> bytes;    // where each segment begins in the data, and the end of the last
  std::vector<std::uint64_t> symbols;  // the number of each segment's first symbol, and of all symbols
  std::vector<std::uint64_t> places;   // of symbols that have no code
  std::vector<std::uint8_t> rare;      // the symbols there
};

// Reads a block in independent groups of at most `kGroupSymbols`: threads may share it, and memory stays small. The
// data must outlive it.
class BlockReader {
 public:
  static constexpr std::size_t kGroupSymbols = std::size_t{3} << 20;

  // The block of `count` symbols below `alphabet` at `offset`. Moves `offset` behind it.
  BlockReader(std::span<const std::uint8_t> data, std::size_t& offset, std::size_t count, std::size_t alphabet = 256);

  struct Group {
    std::size_t first, count;  // symbols
  };
  std::size_t groups() const;
  Group group(std::size_t number) const;
  void read(std::size_t number, std::span<std::uint8_t> symbols) const;
  // Only of a block in lanes; a block in another layout has no segments.
  LaneBlock lanes() const;

 private:
  struct Exception {
    std::size_t number;
    std::uint8_t symbol;
  };

  void parse_lanes(std::size_t& offset);
  void parse_exceptions(std::size_t& offset);
  void read_lanes(Group group, std::size_t number, std::span<std::uint8_t> symbols) const;

  std::span<const std::uint8_t> data_;
  std::size_t count_, alphabet_, at_ = 0, length_ = 0;
  unsigned layout_ = 0;
  std::vector<std::uint8_t> lengths_;
  std::unique_ptr<LaneCode> code_;
  std::vector<std::size_t> segments_;  // the beginnings in the data, and the end of the last
  std::vector<Exception> exceptions_;
};

// Reads all of a block at once.
void decode_block(std::span<const std::uint8_t> data, std::size_t& offset, std::span<std::uint8_t> symbols,
                  std::size_t alphabet, unsigned threads);

}  // namespace dcz
