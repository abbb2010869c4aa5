// The coders of the paper's layout, `sparse` and `huffman`: gaps with fillers, Huffman-coded.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "coding/coders.hpp"
#include "common/bitmap.hpp"
#include "huffman/huffman.hpp"
#include "mask/paper_gaps.hpp"

namespace dcz {
namespace {

// Symbols as they were read, 2 bytes each, not filled with zeros first.
struct Symbols {
  std::unique_ptr<std::uint16_t[]> data;
  std::size_t count = 0;

  explicit Symbols(std::size_t size) : data(std::make_unique_for_overwrite<std::uint16_t[]>(size)), count(size) {}
  std::span<std::uint16_t> span() const { return {data.get(), count}; }
};

Symbols read_stream(Cursor& payload, std::uint64_t length, std::span<const std::uint8_t> lengths, std::size_t count) {
  const std::uint64_t offset = payload.offset();
  Cursor(payload).take(length, "a coded stream");
  const auto codes = std::ranges::count_if(lengths, [](std::uint8_t each) { return each > 0; });
  if (codes > 1 && (count + 7) / 8 > length) {
    throw FormatError("the stream at offset " + std::to_string(offset) + " has " + std::to_string(length) +
                      " bytes, too few for " + std::to_string(count) + " symbols");
  }
  Symbols symbols(count);
  payload.part([&](auto data, auto& at) {
    decode_symbols(data, at, static_cast<std::size_t>(length), lengths, symbols.span());
    at += static_cast<std::size_t>(length);
  });
  return symbols;
}

// The gaps of all entries, each of which takes at least `entry_bytes` behind them: this is checked first.
Symbols read_gaps(Cursor& payload, std::uint64_t size, unsigned entry_bytes) {
  const std::uint64_t entries = payload.varint("number of entries");
  if (entries > size) {
    throw FormatError(std::to_string(entries) + " entries are claimed for a tensor of " + std::to_string(size) +
                      " elements");
  }
  if (entries == 0) {
    payload.end("a tensor without entries");
    return Symbols(0);
  }
  const unsigned bits = payload.u8("gap bits");
  if (bits < 2 || bits > 16) {
    throw FormatError("gap bits at offset " + std::to_string(payload.offset() - 1) + " are from 2 to 16; found " +
                      std::to_string(bits));
  }
  const auto lengths =
      payload.part([&](auto data, auto& at) { return unpack_table(data, at, std::size_t{1} << bits); });
  const std::uint64_t length = payload.varint("length of the gap stream");
  if (length > payload.left() || (entry_bytes > 0 && entries > (payload.left() - length) / entry_bytes)) {
    throw FormatError(std::to_string(entries) + " entries do not fit the " + std::to_string(payload.left()) +
                      " bytes behind offset " + std::to_string(payload.offset()));
  }
  return read_stream(payload, length, lengths, static_cast<std::size_t>(entries));
}

// The places of the entries that are no fillers.
std::vector<std::int64_t> positions_of(Cursor& payload, const Symbols& gaps, std::span<const std::uint8_t> filler,
                                       std::uint64_t size) {
  const auto survivors = static_cast<std::size_t>(std::ranges::count(filler, std::uint8_t{0}));
  std::vector<std::int64_t> positions(survivors + 1);
  payload.part([&](auto, auto&) { from_paper_gaps(gaps.span(), filler, size, positions); });
  positions.pop_back();
  return positions;
}

// The parts of a payload of `huffman`.
struct Entries {
  std::vector<std::int64_t> positions;
  std::vector<std::uint8_t> codes;
  std::span<const std::uint8_t> codebook;
};

Entries read_huffman(Cursor& payload, const Stored& tensor) {
  if (!tensor.dtype.weight) {
    throw FormatError("the coder huffman holds " + std::string(kWeightNames) + "; found " +
                      std::string(tensor.dtype.name));
  }
  const Symbols gaps = read_gaps(payload, tensor.size(), 0);
  if (gaps.count == 0) return {};
  const std::size_t centroids = payload.u8("number of centroids") + std::size_t{1};
  const auto codebook = payload.take(centroids * tensor.item_bytes(), "codebook");
  const auto lengths = payload.part([&](auto data, auto& at) { return unpack_table(data, at, centroids + 1); });
  const Symbols symbols = read_stream(payload, payload.left(), lengths, gaps.count);
  std::vector<std::uint8_t> filler(gaps.count);
  std::vector<std::uint8_t> codes;
  for (std::size_t i = 0; i < gaps.count; ++i) {
    filler[i] = symbols.data[i] == centroids;
    if (!filler[i]) codes.push_back(static_cast<std::uint8_t>(symbols.data[i]));
  }
  return {positions_of(payload, gaps, filler, tensor.size()), std::move(codes), codebook};
}

}  // namespace

void decode_sparse(Cursor& payload, const Stored& tensor, unsigned, Dense& memory) {
  const std::size_t item = tensor.item_bytes();
  const Symbols gaps = read_gaps(payload, tensor.size(), tensor.item_bytes());
  const auto values = payload.rest();
  if (values.size() != gaps.count * item) {
    throw FormatError(std::to_string(gaps.count) + " entries of " + std::string(tensor.dtype.name) + " take " +
                      std::to_string(gaps.count * item) + " bytes; found " + std::to_string(values.size()));
  }
  // "An element survives if any of its bits is set."
  std::vector<std::uint8_t> filler(gaps.count);
  for (std::size_t i = 0; i < gaps.count; ++i) {
    filler[i] = std::ranges::all_of(values.subspan(i * item, item), [](std::uint8_t byte) { return byte == 0; });
  }
  const auto positions = positions_of(payload, gaps, filler, tensor.size());
  const auto dense = memory.zeros();
  for (std::size_t i = 0, survivor = 0; i < gaps.count; ++i) {
    if (filler[i]) continue;
    std::memcpy(&dense[static_cast<std::size_t>(positions[survivor++]) * item], &values[i * item], item);
  }
}

void decode_huffman(Cursor& payload, const Stored& tensor, unsigned, Dense& memory) {
  const std::size_t item = tensor.item_bytes();
  const Entries found = read_huffman(payload, tensor);
  const auto dense = memory.zeros();
  for (std::size_t i = 0; i < found.codes.size(); ++i) {
    std::memcpy(&dense[static_cast<std::size_t>(found.positions[i]) * item], &found.codebook[found.codes[i] * item],
                item);
  }
}

std::optional<SharedTensor> decode_huffman_shared(Cursor& payload, const Stored& tensor, unsigned) {
  Entries found = read_huffman(payload, tensor);
  return SharedTensor{bitmap_of(found.positions, tensor.size()).release(),
                      {found.codebook.begin(), found.codebook.end()},
                      std::move(found.codes)};
}

}  // namespace dcz
