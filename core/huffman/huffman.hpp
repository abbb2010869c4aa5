// Canonical Huffman codes of at most 16 bits: lengths, tables and streams as docs/format.md defines them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dcz {

inline constexpr std::size_t kMaxAlphabet = 65537;

// Optimal lengths up to `longest`; 0 for a symbol that does not occur, 1 for one that occurs alone.
std::vector<std::uint8_t> code_lengths(std::span<const std::uint64_t> counts, unsigned longest = 16);

std::vector<std::uint8_t> pack_table(std::span<const std::uint8_t> lengths);

// Reads the table at `offset` and moves `offset` behind it.
std::vector<std::uint8_t> unpack_table(std::span<const std::uint8_t> data, std::size_t& offset, std::size_t alphabet);

// The bits of all symbols in a code.
std::uint64_t bits_of(std::span<const std::uint64_t> counts, std::span<const std::uint8_t> lengths);

std::vector<std::uint64_t> symbol_counts(std::span<const std::uint16_t> symbols, std::size_t alphabet);

std::vector<std::uint8_t> encode_symbols(std::span<const std::uint16_t> symbols, std::span<const std::uint8_t> lengths);

// Fills `symbols` from the `length` bytes of `data` at `offset`, which must hold exactly that many.
void decode_symbols(std::span<const std::uint8_t> data, std::size_t offset, std::size_t length,
                    std::span<const std::uint8_t> lengths, std::span<std::uint16_t> symbols);
void decode_symbols(std::span<const std::uint8_t> data, std::size_t offset, std::size_t length,
                    std::span<const std::uint8_t> lengths, std::span<std::uint8_t> symbols);

}  // namespace dcz
