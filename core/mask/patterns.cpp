// Bit sequences as symbols of a few consecutive bits each.
#include "mask/patterns.hpp"

#include <algorithm>
#include <string>

#include "block/block.hpp"
#include "block/groups.hpp"
#include "common/error.hpp"
#include "common/fields.hpp"
#include "huffman/huffman.hpp"

namespace dcz {
namespace {

// Wider ones are more symbols than a block can hold.
constexpr unsigned kMaxBlockPatternBits = 8;

// Wide patterns are coded in pieces of so many: decoding takes little memory.
constexpr std::uint64_t kPiece = 1u << 20;

std::uint64_t symbols_of(const Bitmap& sequence, unsigned width) {
  return sequence.size() / width + (sequence.size() % width > 0);
}

// Appends patterns to a bitmap of zeros.
class Packer {
 public:
  Packer(Bitmap& sequence, unsigned width) : sequence_(sequence), out_(sequence.data()), width_(width) {}

  template <typename Symbol>
  void put(std::span<const Symbol> symbols) {
    for (const Symbol symbol : symbols) {
      pending_ |= std::uint64_t{symbol} << pending_bits_;
      pending_bits_ += width_;
      for (; pending_bits_ >= 8; pending_bits_ -= 8, pending_ >>= 8) *out_++ = static_cast<std::uint8_t>(pending_);
      last_ = symbol;
    }
  }

  void finish() {
    *out_ = static_cast<std::uint8_t>(pending_);
    const auto tail = static_cast<unsigned>(sequence_.size() % width_);
    if (tail > 0 && last_ >> tail > 0) throw FormatError("a pattern has a bit set behind the end of its sequence");
  }

 private:
  Bitmap& sequence_;
  std::uint8_t* out_;
  unsigned width_;
  std::uint64_t pending_ = 0;
  unsigned pending_bits_ = 0, last_ = 0;
};

template <typename Symbol>
std::vector<Symbol> symbols_between(const Bitmap& sequence, unsigned width, std::uint64_t begin, std::uint64_t end) {
  std::vector<Symbol> symbols(static_cast<std::size_t>(end - begin));
  const std::uint64_t mask = (1u << width) - 1;
  for (std::uint64_t i = begin; i < end; ++i) {
    symbols[static_cast<std::size_t>(i - begin)] = static_cast<Symbol>(sequence.window(i * width) & mask);
  }
  return symbols;
}

std::uint64_t stream_bytes(std::span<const std::uint64_t> counts, std::span<const std::uint8_t> lengths) {
  const std::uint64_t bits = bits_of(counts, lengths);
  return std::count(lengths.begin(), lengths.end(), 0) + 1 == std::ssize(lengths) ? 0 : bits / 8 + (bits % 8 > 0);
}

void put_stream(std::vector<std::uint8_t>& bytes, std::span<const std::uint16_t> symbols, unsigned width) {
  const auto lengths = code_lengths(symbol_counts(symbols, std::size_t{1} << width));
  const auto stream = encode_symbols(symbols, lengths);
  append(bytes, pack_table(lengths));
  put_varint(bytes, stream.size());
  append(bytes, stream);
}

void take_stream(std::span<const std::uint8_t> data, std::size_t& offset, unsigned width,
                 std::span<std::uint16_t> symbols) {
  const auto lengths = unpack_table(data, offset, std::size_t{1} << width);
  const auto length = take_varint(data, offset, "length of patterns");
  if (length > data.size() - offset) {
    throw FormatError("patterns at byte " + std::to_string(offset) + " claim " + std::to_string(length) + " bytes, " +
                      std::to_string(data.size() - offset) + " are left");
  }
  decode_symbols(data, offset, static_cast<std::size_t>(length), lengths, symbols);
  offset += static_cast<std::size_t>(length);
}

}  // namespace

std::vector<std::uint64_t> pattern_counts(const Bitmap& sequence, unsigned width, std::uint64_t stride) {
  std::vector<std::uint64_t> counts(std::size_t{1} << width);
  const std::uint64_t mask = counts.size() - 1;
  for (std::uint64_t i = 0; i < sequence.size(); i += stride * width) ++counts[sequence.window(i) & mask];
  return counts;
}

std::uint64_t pattern_bytes(std::span<const std::uint64_t> counts, unsigned width) {
  if (width <= kMaxBlockPatternBits) return block_bytes(counts);
  const auto lengths = code_lengths(counts);
  const auto stream = stream_bytes(counts, lengths);
  return pack_table(lengths).size() + varint_bytes(stream) + stream;
}

void put_patterns(std::vector<std::uint8_t>& bytes, const Bitmap& sequence, unsigned width) {
  const std::uint64_t symbols = symbols_of(sequence, width);
  if (width <= kMaxBlockPatternBits) {
    append(bytes, encode_block(symbols_between<std::uint8_t>(sequence, width, 0, symbols)));
    return;
  }
  for (std::uint64_t i = 0; i < symbols; i += kPiece) {
    put_stream(bytes, symbols_between<std::uint16_t>(sequence, width, i, std::min(symbols, i + kPiece)), width);
  }
}

void take_patterns(std::span<const std::uint8_t> data, std::size_t& offset, unsigned width, unsigned threads,
                   Bitmap& sequence) {
  const std::uint64_t count = symbols_of(sequence, width);
  Packer packer(sequence, width);
  if (width <= kMaxBlockPatternBits) {
    each_group(data, offset, static_cast<std::size_t>(count), std::size_t{1} << width, threads,
               [&](std::span<const std::uint8_t> symbols) { packer.put(symbols); });
  } else {
    std::vector<std::uint16_t> symbols;
    for (std::uint64_t i = 0; i < count; i += kPiece) {
      symbols.resize(static_cast<std::size_t>(std::min(count - i, kPiece)));
      take_stream(data, offset, width, symbols);
      packer.put(std::span<const std::uint16_t>(symbols));
    }
  }
  packer.finish();
}

}  // namespace dcz
