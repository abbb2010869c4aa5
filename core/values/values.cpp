// Codebooks, and codes and values of survivors <-> bytes (docs/format.md, "Codebook" and "Values").
#include "values/values.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include "block/block.hpp"
#include "common/bits.hpp"
#include "common/error.hpp"
#include "common/pool.hpp"
#include "huffman/elias_gamma.hpp"

namespace dcz {
namespace {

// The bit width before the first step.
constexpr int kFirstStepWidth = 20;

void put_bits(BitWriter& writer, std::uint64_t value, unsigned width) {
  for (; width > 32; width -= 32, value >>= 32) {
    writer.put(value & 0xffffffff, 32);
    writer.flush();
  }
  writer.put(value & ((std::uint64_t{1} << width) - 1), width);
  writer.flush();
}

std::uint64_t take_bits(BitReader& reader, unsigned width) {
  std::uint64_t value = 0;
  for (unsigned at = 0; at < width;) {
    const unsigned step = std::min(32u, width - at);
    value |= (reader.peek() & ((std::uint64_t{1} << step) - 1)) << at;
    reader.skip(step);
    at += step;
  }
  return value;
}

// Calls with a zero of the unsigned type that has so many bytes.
template <typename Call>
void with_item(unsigned bytes, const Call& call) {
  if (bytes == 1) {
    call(std::uint8_t{});
  } else if (bytes == 2) {
    call(std::uint16_t{});
  } else if (bytes == 4) {
    call(std::uint32_t{});
  } else if (bytes == 8) {
    call(std::uint64_t{});
  } else {
    throw std::invalid_argument("elements have 1, 2, 4 or 8 bytes");
  }
}

// Reads a block of one symbol a survivor. Calls use(symbols, first survivor) for each group, by any thread.
template <typename Use>
void each_group(const BlockReader& reader, unsigned threads, const Use& use) {
  share_items(threads, reader.groups(), [&](std::size_t number, unsigned) {
    const auto group = reader.group(number);
    const auto symbols = std::make_unique_for_overwrite<std::uint8_t[]>(group.count);
    reader.read(number, {symbols.get(), group.count});
    use(std::span<const std::uint8_t>{symbols.get(), group.count}, group.first);
  });
}

}  // namespace

std::vector<std::uint8_t> pack_ascending(std::span<const std::uint64_t> values, unsigned width) {
  if (!values.empty() && static_cast<unsigned>(std::bit_width(values.back())) > width) {
    throw std::invalid_argument(std::to_string(values.back()) + " does not fit " + std::to_string(width) + " bits");
  }
  BitWriter writer;
  if (!values.empty()) put_bits(writer, values[0], width);
  int previous = kFirstStepWidth;
  for (std::size_t i = 1; i < values.size(); ++i) {
    if (values[i] <= values[i - 1]) throw std::invalid_argument("a codebook ascends strictly");
    const std::uint64_t step = values[i] - values[i - 1];
    const int digits = static_cast<int>(std::bit_width(step)), change = digits - previous;
    put_token(writer, static_cast<std::uint32_t>(change > 0 ? 2 * change - 1 : -2 * change));
    put_bits(writer, step, static_cast<unsigned>(digits - 1));
    previous = digits;
  }
  return writer.finish();
}

std::vector<std::uint64_t> unpack_ascending(std::span<const std::uint8_t> data, std::size_t& offset, std::size_t count,
                                            unsigned width) {
  const std::size_t begin = offset;
  BitReader reader(data.subspan(std::min(offset, data.size())));
  const std::uint64_t largest = ~std::uint64_t{0} >> (64 - width);
  std::vector<std::uint64_t> values;
  if (count > 0) values.push_back(take_bits(reader, width));
  int digits = kFirstStepWidth;
  for (std::size_t i = 1; i < count; ++i) {
    const auto token = static_cast<int>(take_token(reader, "codebook", begin));
    digits += token % 2 == 1 ? (token + 1) / 2 : -token / 2;
    if (digits < 1 || digits > static_cast<int>(width)) {
      throw FormatError("codebook at byte " + std::to_string(begin) + " has a step of " + std::to_string(digits) +
                        " bits, expected 1 to " + std::to_string(width));
    }
    const std::uint64_t step = take_bits(reader, static_cast<unsigned>(digits - 1)) | std::uint64_t{1} << (digits - 1);
    if (step > largest - values.back()) {
      throw FormatError("codebook at byte " + std::to_string(begin) + " leaves its " + std::to_string(width) + " bits");
    }
    values.push_back(values.back() + step);
  }
  if (reader.overrun()) throw FormatError("codebook at byte " + std::to_string(begin) + " is truncated");
  if (!reader.padding_is_zero()) {
    throw FormatError("codebook at byte " + std::to_string(begin) + " has padding bits that are not zero");
  }
  offset += reader.size_bytes();
  return values;
}

std::vector<std::uint8_t> encode_plane(std::span<const std::uint8_t> dense, const Survivors& survivors,
                                       unsigned item_bytes, unsigned byte, bool is_float) {
  std::vector<std::uint8_t> block, plane;
  with_item(item_bytes, [&](auto zero) {
    using Item = decltype(zero);
    const auto source = [&](std::size_t first, std::size_t count) {
      plane.resize(count);
      survivors.visit(first, count, [&](std::size_t at, std::size_t i) {
        const Item item = load_le<Item>(dense.data() + at * sizeof(Item));
        plane[i] = static_cast<std::uint8_t>((is_float ? std::rotl(item, 1) : item) >> (8 * byte));
      });
      return std::span<const std::uint8_t>(plane);
    };
    block = encode_block(source, survivors.count());
  });
  return block;
}

void decode_planes(std::span<const std::uint8_t> data, std::size_t& offset, const Survivors& survivors,
                   unsigned item_bytes, bool is_float, std::span<std::uint8_t> dense, unsigned threads) {
  for (unsigned byte = item_bytes; byte-- > 0;) {
    const BlockReader reader(data, offset, survivors.count(), 256);
    each_group(reader, threads, [&](auto symbols, std::size_t first) {
      survivors.visit(first, symbols.size(),
                      [symbols, item_bytes, out = dense.data() + byte](std::size_t at, std::size_t i) {
                        out[at * item_bytes] = symbols[i];
                      });
    });
  }
  if (!is_float) return;
  with_item(item_bytes, [&](auto zero) {
    using Item = decltype(zero);
    for (std::size_t at = 0; at < dense.size(); at += sizeof(Item)) {
      store_le(dense.data() + at, std::rotr(load_le<Item>(dense.data() + at), 1));
    }
  });
}

namespace {

// Calls with a function that puts the elements of codes, from survivor `first` on, to their places.
template <typename Call>
void with_placer(const Survivors& survivors, std::span<const std::uint8_t> codebook, unsigned item_bytes,
                 std::span<std::uint8_t> dense, const Call& call) {
  with_item(item_bytes, [&](auto zero) {
    using Item = decltype(zero);
    std::array<Item, 256> elements{};
    std::memcpy(elements.data(), codebook.data(), codebook.size());
    call([&](std::span<const std::uint8_t> codes, std::size_t first) {
      // Copies, since for the compiler a byte that is written may change anything.
      survivors.visit(first, codes.size(),
                      [codes, of = elements.data(), out = dense.data()](std::size_t at, std::size_t i) {
                        std::memcpy(out + at * sizeof(Item), &of[codes[i]], sizeof(Item));
                      });
    });
  });
}

}  // namespace

void decode_codes(std::span<const std::uint8_t> data, std::size_t& offset, const Survivors& survivors,
                  std::span<const std::uint8_t> codebook, unsigned item_bytes, std::span<std::uint8_t> dense,
                  unsigned threads) {
  const BlockReader reader(data, offset, survivors.count(), codebook.size() / item_bytes);
  with_placer(survivors, codebook, item_bytes, dense, [&](const auto& place) { each_group(reader, threads, place); });
}

void place_codes(std::span<const std::uint8_t> codes, const Survivors& survivors,
                 std::span<const std::uint8_t> codebook, unsigned item_bytes, std::span<std::uint8_t> dense) {
  if (codes.size() != survivors.count()) throw std::invalid_argument("there is not one code for each survivor");
  with_placer(survivors, codebook, item_bytes, dense, [&](const auto& place) { place(codes, 0); });
}

}  // namespace dcz
