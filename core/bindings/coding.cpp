// The part of deepcompression._core that encodes and decodes.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <span>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "adaptive/model.hpp"
#include "bindings/arrays.hpp"
#include "block/block.hpp"
#include "common/bitmap.hpp"
#include "common/error.hpp"
#include "common/shape.hpp"
#include "huffman/huffman.hpp"
#include "mask/mask.hpp"
#include "mask/paper_gaps.hpp"
#include "rows/decode.hpp"
#include "rows/encode.hpp"
#include "values/values.hpp"

namespace dcz::python {
namespace {

using namespace nb::literals;

Out<std::uint8_t> code_lengths(const In<std::uint64_t>& counts, unsigned longest) {
  if (longest < 1 || longest > 16) throw std::invalid_argument("code lengths are limited to 1 to 16 bits");
  return own(unlocked([&] { return dcz::code_lengths(view(counts), longest); }));
}

nb::bytes pack_table(const In<std::uint8_t>& lengths) {
  return to_bytes(unlocked([&] { return dcz::pack_table(view(lengths)); }));
}

std::pair<Out<std::uint8_t>, std::size_t> unpack_table(const Data& data, std::size_t offset, std::size_t alphabet) {
  auto lengths = unlocked([&] { return dcz::unpack_table(view(data), offset, alphabet); });
  return {own(std::move(lengths)), offset};
}

Out<std::uint64_t> symbol_counts(const In<std::uint16_t>& symbols, std::size_t alphabet) {
  return own(unlocked([&] { return dcz::symbol_counts(view(symbols), alphabet); }));
}

nb::bytes encode_symbols(const In<std::uint16_t>& symbols, const In<std::uint8_t>& lengths) {
  return to_bytes(unlocked([&] { return dcz::encode_symbols(view(symbols), view(lengths)); }));
}

Out<std::uint16_t> decode_symbols(const Data& data, std::size_t offset, std::size_t length,
                                  const In<std::uint8_t>& lengths, std::size_t count) {
  Result<std::uint16_t> symbols(count);
  unlocked([&] { dcz::decode_symbols(view(data), offset, length, view(lengths), symbols.span()); });
  return symbols.release();
}

void check_width(unsigned width) {
  if (width < 8 || width > 64) throw std::invalid_argument("a width is from 8 to 64 bits");
}

nb::bytes encode_block(const In<std::uint8_t>& symbols) {
  return to_bytes(unlocked([&] { return dcz::encode_block(view(symbols)); }));
}

std::pair<Out<std::uint8_t>, std::size_t> decode_block(const Data& data, std::size_t offset, std::size_t count,
                                                       std::size_t alphabet, unsigned threads) {
  if (alphabet < 1 || alphabet > 256) throw std::invalid_argument("a block's alphabet has 1 to 256 symbols");
  Result<std::uint8_t> symbols(count);
  unlocked([&] { dcz::decode_block(view(data), offset, symbols.span(), alphabet, threads); });
  return {symbols.release(), offset};
}

using Lanes = std::tuple<unsigned, Out<std::uint16_t>, Out<std::uint64_t>, Out<std::uint64_t>, Out<std::uint64_t>,
                         Out<std::uint8_t>>;

std::optional<Lanes> lane_block(const Data& data, std::size_t offset, std::size_t count, std::size_t alphabet) {
  if (alphabet < 1 || alphabet > 256) throw std::invalid_argument("a block's alphabet has 1 to 256 symbols");
  auto lanes = unlocked([&] { return dcz::BlockReader(view(data), offset, count, alphabet).lanes(); });
  if (lanes.bytes.empty()) return std::nullopt;
  return Lanes{lanes.layout.turn,
               own(std::move(lanes.table)),
               own(std::move(lanes.bytes)),
               own(std::move(lanes.symbols)),
               own(std::move(lanes.places)),
               own(std::move(lanes.rare))};
}

nb::bytes pack_ascending(const In<std::uint64_t>& values, unsigned width) {
  check_width(width);
  return to_bytes(dcz::pack_ascending(view(values), width));
}

std::pair<Out<std::uint64_t>, std::size_t> unpack_ascending(const Data& data, std::size_t offset, std::size_t count,
                                                            unsigned width) {
  check_width(width);
  auto values = dcz::unpack_ascending(view(data), offset, count, width);
  return {own(std::move(values)), offset};
}

// The survivors of a dense tensor. An empty bitmap stands for all elements.
dcz::Survivors survivors_of(const In<std::uint8_t>& bitmap, std::size_t dense_bytes, unsigned item_bytes) {
  check_items(dense_bytes, item_bytes);
  const std::size_t size = dense_bytes / item_bytes;
  if (bitmap.size() != 0 && bitmap.size() != (size + 7) / 8) throw std::invalid_argument("the bitmap has another size");
  if (bitmap.size() != 0 && size % 8 != 0 && bitmap.data()[size / 8] >> (size % 8) != 0) {
    throw std::invalid_argument("the bitmap has bits behind the last element");
  }
  return {view(bitmap), size};
}

std::size_t decode_planes(const Data& data, std::size_t offset, const In<std::uint8_t>& bitmap, unsigned item_bytes,
                          bool is_float, const InOut<std::uint8_t>& dense, unsigned threads) {
  unlocked([&] {
    dcz::decode_planes(view(data), offset, survivors_of(bitmap, dense.size(), item_bytes), item_bytes, is_float,
                       view(dense), threads);
  });
  return offset;
}

std::size_t decode_codes(const Data& data, std::size_t offset, const In<std::uint8_t>& bitmap,
                         const In<std::uint8_t>& codebook, unsigned item_bytes, const InOut<std::uint8_t>& dense,
                         unsigned threads) {
  check_items(codebook.size(), item_bytes);
  const std::size_t centroids = codebook.size() / item_bytes;
  if (centroids < 1 || centroids > 256) throw std::invalid_argument("a codebook has 1 to 256 centroids");
  unlocked([&] {
    dcz::decode_codes(view(data), offset, survivors_of(bitmap, dense.size(), item_bytes), view(codebook), item_bytes,
                      view(dense), threads);
  });
  return offset;
}

void place_codes(const In<std::uint8_t>& codes, const In<std::uint8_t>& bitmap, const In<std::uint8_t>& codebook,
                 unsigned item_bytes, const InOut<std::uint8_t>& dense) {
  check_items(codebook.size(), item_bytes);
  if (codebook.size() > std::size_t{256} * item_bytes)
    throw std::invalid_argument("a codebook has at most 256 centroids");
  unlocked([&] {
    dcz::place_codes(view(codes), survivors_of(bitmap, dense.size(), item_bytes), view(codebook), item_bytes,
                     view(dense));
  });
}

Out<std::uint8_t> encode_plane(const In<std::uint8_t>& dense, const In<std::uint8_t>& bitmap, unsigned item_bytes,
                               unsigned byte, bool is_float) {
  check_items(dense.size(), item_bytes);
  if (byte >= item_bytes) throw std::invalid_argument("elements have no such byte");
  return own(unlocked([&] {
    return dcz::encode_plane(view(dense), survivors_of(bitmap, dense.size(), item_bytes), item_bytes, byte, is_float);
  }));
}

Out<std::uint64_t> fillers_by_gap_bits(const In<std::uint8_t>& bitmap, std::uint64_t size) {
  return own(unlocked([&] { return dcz::fillers_by_gap_bits(dcz::Bitmap(view(bitmap), size)); }));
}

std::pair<Out<std::uint64_t>, std::uint64_t> paper_gap_counts(const In<std::int64_t>& positions, unsigned gap_bits) {
  auto result = unlocked([&] { return dcz::paper_gap_counts(view(positions), gap_bits); });
  return {own(std::move(result.counts)), result.fillers};
}

std::pair<Out<std::uint16_t>, Out<bool>> to_paper_gaps(const In<std::int64_t>& positions, unsigned gap_bits) {
  const auto entries =
      positions.size() + unlocked([&] { return dcz::paper_gap_counts(view(positions), gap_bits); }).fillers;
  Result<std::uint16_t> gaps(entries);
  Result<bool> filler(entries);
  unlocked([&] { dcz::to_paper_gaps(view(positions), gap_bits, gaps.span(), filler.span()); });
  return {gaps.release(), filler.release()};
}

Out<std::int64_t> from_paper_gaps(const In<std::uint16_t>& gaps, const In<bool>& filler, std::uint64_t size) {
  if (gaps.size() != filler.size()) throw std::invalid_argument("gaps and filler differ in length");
  const auto truths = bytes_of(filler);
  const auto survivors =
      static_cast<std::size_t>(unlocked([&] { return std::count(truths.begin(), truths.end(), 0); }));
  Result<std::int64_t> positions(survivors + 1);
  unlocked([&] { dcz::from_paper_gaps(view(gaps), truths, size, positions.span()); });
  return positions.release(survivors);
}

nb::bytes encode_mask(const In<std::uint8_t>& bitmap, const In<std::uint64_t>& shape) {
  return to_bytes(
      unlocked([&] { return dcz::encode_mask(dcz::Bitmap(view(bitmap), dcz::extent(view(shape))), view(shape)); }));
}

std::tuple<Out<std::uint8_t>, std::uint64_t, std::size_t> decode_mask(const Data& data, std::size_t offset,
                                                                      const In<std::uint64_t>& shape,
                                                                      unsigned threads) {
  std::uint64_t survivors = 0;
  auto bytes = unlocked([&] {
    dcz::Bitmap mask = dcz::decode_mask(view(data), offset, view(shape), threads);
    survivors = mask.count();
    return mask.release();
  });
  return {own(std::move(bytes)), survivors, offset};
}

Out<std::int64_t> positions_of(const In<std::uint8_t>& bitmap, std::uint64_t size) {
  const dcz::Bitmap mask = unlocked([&] { return dcz::Bitmap(view(bitmap), size); });
  Result<std::int64_t> positions(unlocked([&] { return mask.count(); }));
  unlocked([&] { dcz::put_positions(mask, positions.span()); });
  return positions.release();
}

Out<std::uint8_t> bitmap_of(const In<std::int64_t>& positions, std::uint64_t size) {
  return own(unlocked([&] { return dcz::bitmap_of(view(positions), size).release(); }));
}

nb::bytes encode_adaptive(const std::vector<std::uint64_t>& shape, std::uint64_t survivors,
                          const In<std::uint64_t>& codebook, unsigned width, const In<std::uint8_t>& bitmap,
                          const In<std::uint8_t>& codes) {
  const dcz::AdaptiveTensor tensor{shape, survivors, static_cast<unsigned>(codebook.size()), width};
  return to_bytes(unlocked([&] { return dcz::encode_adaptive(tensor, view(codebook), view(bitmap), view(codes)); }));
}

std::tuple<Out<std::uint64_t>, Out<std::uint8_t>, Out<std::uint8_t>> decode_adaptive(
    const Data& data, const std::vector<std::uint64_t>& shape, std::uint64_t survivors, unsigned centroids,
    unsigned width) {
  const dcz::AdaptiveTensor tensor{shape, survivors, centroids, width};
  const std::uint64_t elements = dcz::extent(shape);
  if (survivors > elements) throw dcz::FormatError("more survivors than elements");
  Result<std::uint64_t> codebook(centroids);
  Result<std::uint8_t> bitmap(elements / 8 + (elements % 8 != 0));
  Result<std::uint8_t> codes(centroids > 0 ? survivors : 0);
  unlocked([&] { dcz::decode_adaptive(view(data), tensor, codebook.span(), bitmap.span(), codes.span()); });
  return {codebook.release(), bitmap.release(), codes.release()};
}

std::pair<Out<std::uint64_t>, Out<std::uint64_t>> gap_counts(const In<std::uint8_t>& bitmap, std::uint64_t size,
                                                             std::uint64_t group) {
  std::vector<std::uint64_t> gaps, counts;
  unlocked([&] {
    for (const auto& [gap, count] : dcz::gap_counts({view(bitmap), size, group})) {
      gaps.push_back(gap);
      counts.push_back(count);
    }
  });
  return {own(std::move(gaps)), own(std::move(counts))};
}

std::pair<nb::bytes, Out<std::uint64_t>> encode_groups(const In<std::uint8_t>& bitmap, std::uint64_t size,
                                                       std::uint64_t group, const In<std::uint8_t>& symbols,
                                                       const In<std::uint8_t>& gap_lengths,
                                                       const In<std::uint8_t>& symbol_lengths) {
  auto groups = unlocked([&] {
    return dcz::encode_groups({view(bitmap), size, group}, view(symbols), view(gap_lengths), view(symbol_lengths));
  });
  return {to_bytes(groups.bytes), own(std::move(groups.lengths))};
}

dcz::DevicePayload payload_of(const Data& data, unsigned dtype, unsigned item_bytes, std::uint64_t rows,
                              std::uint64_t columns) {
  check_items(0, item_bytes);
  return {view(data), dtype, item_bytes, rows, columns};
}

void decode_rows(const Data& data, unsigned dtype, unsigned item_bytes, std::uint64_t rows, std::uint64_t columns,
                 const InOut<std::uint8_t>& dense) {
  unlocked([&] { dcz::decode_rows(payload_of(data, dtype, item_bytes, rows, columns), view(dense)); });
}

std::tuple<Out<std::uint8_t>, Out<std::uint8_t>, std::uint64_t> decode_entries(const Data& data, unsigned dtype,
                                                                               unsigned item_bytes, std::uint64_t rows,
                                                                               std::uint64_t columns, unsigned filler) {
  auto found =
      unlocked([&] { return dcz::decode_entries(payload_of(data, dtype, item_bytes, rows, columns), filler); });
  return {own(std::move(found.bitmap)), own(std::move(found.symbols)), found.fillers};
}

std::pair<std::uint32_t, std::uint32_t> device_sizes(const Data& data, unsigned dtype, unsigned item_bytes,
                                                     std::uint64_t rows, std::uint64_t columns) {
  const auto sizes = unlocked([&] { return dcz::device_sizes(payload_of(data, dtype, item_bytes, rows, columns)); });
  return {sizes.head, sizes.work};
}

}  // namespace

void bind_coding(nb::module_& m) {
  m.def("code_lengths", &code_lengths, "counts"_a.noconvert(), "longest"_a = 16,
        "Optimal Huffman code lengths of at most `longest` bits; 0 for a count of 0, 1 for a symbol that occurs "
        "alone.");
  m.def("pack_table", &pack_table, "lengths"_a.noconvert(),
        "The table of docs/format.md; at least one symbol must occur.");
  m.def("unpack_table", &unpack_table, "data"_a.noconvert(), "offset"_a, "alphabet"_a,
        "The lengths of the table at `offset`, zeros up to the alphabet's size, and the offset behind it.");
  m.def("symbol_counts", &symbol_counts, "symbols"_a.noconvert(), "alphabet"_a,
        "How often each symbol below `alphabet` occurs.");
  m.def("encode_symbols", &encode_symbols, "symbols"_a.noconvert(), "lengths"_a.noconvert(),
        "The stream of docs/format.md; empty if only one symbol has a code.");
  m.def("decode_symbols", &decode_symbols, "data"_a.noconvert(), "offset"_a, "length"_a, "lengths"_a.noconvert(),
        "count"_a, "The `count` symbols of the stream that is exactly `length` bytes at `offset`.");
  m.def("encode_block", &encode_block, "symbols"_a.noconvert(),
        "The block of docs/format.md; the same bytes on every CPU.");
  m.def("decode_block", &decode_block, "data"_a.noconvert(), "offset"_a, "count"_a, "alphabet"_a = 256, "threads"_a = 1,
        "The `count` symbols of the block at `offset`, and the offset behind it.");
  m.def("lane_block", &lane_block, "data"_a.noconvert(), "offset"_a, "count"_a, "alphabet"_a = 256,
        "The turn of the block at `offset`, its table (the next bits -> symbol << 8 | length), where its segments "
        "begin and end in the data and among the symbols, the places of symbols without a code, and these. None for a "
        "block in another layout than lanes.");
  m.def("pack_ascending", &pack_ascending, "values"_a.noconvert(), "width"_a,
        "The codebook of docs/format.md: strictly ascending integers of `width` bits.");
  m.def("unpack_ascending", &unpack_ascending, "data"_a.noconvert(), "offset"_a, "count"_a, "width"_a,
        "The `count` integers of the codebook at `offset`, and the offset behind it.");
  m.def(
      "encode_plane", &encode_plane, "dense"_a.noconvert(), "bitmap"_a.noconvert(), "item_bytes"_a, "byte"_a,
      "is_float"_a,
      "The block of one byte of each survivor, 0 for the least significant. An empty bitmap stands for all elements.");
  m.def("fillers_by_gap_bits", &fillers_by_gap_bits, "bitmap"_a.noconvert(), "size"_a,
        "The fillers among gaps of 2, 3 ... 16 bits of a bitmap's survivors.");
  m.def(
      "decode_planes", &decode_planes, "data"_a.noconvert(), "offset"_a, "bitmap"_a.noconvert(), "item_bytes"_a,
      "is_float"_a, "dense"_a.noconvert(), "threads"_a = 1,
      "Writes the values at `offset` to the places of set bits in `dense`, all zero before. An empty bitmap stands for "
      "all. Gives the offset behind the values.");
  m.def("decode_codes", &decode_codes, "data"_a.noconvert(), "offset"_a, "bitmap"_a.noconvert(),
        "codebook"_a.noconvert(), "item_bytes"_a, "dense"_a.noconvert(), "threads"_a = 1,
        "Writes the codebook's elements for the block of codes at `offset` as `decode_planes` does.");
  m.def("paper_gap_counts", &paper_gap_counts, "positions"_a.noconvert(), "gap_bits"_a,
        "Counts of the 2^gap_bits gaps that `to_paper_gaps` would give, and of the fillers among them.");
  m.def("to_paper_gaps", &to_paper_gaps, "positions"_a.noconvert(), "gap_bits"_a,
        "Gaps of strictly ascending positions, and for each whether it is a filler; gap_bits is 2 to 16.");
  m.def("from_paper_gaps", &from_paper_gaps, "gaps"_a.noconvert(), "filler"_a.noconvert(), "size"_a,
        "Positions of the entries that are no fillers. Raises FormatError if any entry reaches `size`.");
  m.def("place_codes", &place_codes, "codes"_a.noconvert(), "bitmap"_a.noconvert(), "codebook"_a.noconvert(),
        "item_bytes"_a, "dense"_a.noconvert(),
        "Writes the codebook's elements for codes below its size, as `decode_codes` does.");
  m.def("encode_mask", &encode_mask, "bitmap"_a.noconvert(), "shape"_a.noconvert(),
        "The mask of docs/format.md. Element i is bit i % 8 of byte i // 8 of the bitmap.");
  m.def("decode_mask", &decode_mask, "data"_a.noconvert(), "offset"_a, "shape"_a.noconvert(), "threads"_a = 1,
        "The bitmap of the mask at `offset`, the number of its survivors, and the offset behind it.");
  m.def("positions_of", &positions_of, "bitmap"_a.noconvert(), "size"_a,
        "The ascending positions of a bitmap of `size` elements.");
  m.def("bitmap_of", &bitmap_of, "positions"_a.noconvert(), "size"_a,
        "The bitmap of strictly ascending positions below `size`.");
  m.def(
      "encode_adaptive", &encode_adaptive, "shape"_a, "survivors"_a, "codebook"_a.noconvert(), "width"_a,
      "bitmap"_a.noconvert(), "codes"_a.noconvert(),
      "The adaptive string of docs/format.md, with centroids as ascending integers of `width` bits. Without centroids "
      "and codes it has the survivors alone.");
  m.def("decode_adaptive", &decode_adaptive, "data"_a.noconvert(), "shape"_a, "survivors"_a, "centroids"_a, "width"_a,
        "The codebook, the bitmap and the codes of the string that is all of `data`.");
  m.def("gap_counts", &gap_counts, "bitmap"_a.noconvert(), "size"_a, "group"_a,
        "The gaps of the coder device that occur in groups of `group` elements, ascending, and how often each does. An "
        "empty bitmap stands for all elements.");
  m.def("encode_groups", &encode_groups, "bitmap"_a.noconvert(), "size"_a, "group"_a, "symbols"_a.noconvert(),
        "gap_lengths"_a.noconvert(), "symbol_lengths"_a.noconvert(),
        "The groups of the coder device, and the bytes of each; one symbol for each bit of the bitmap.");
  m.def("decode_rows", &decode_rows, "data"_a.noconvert(), "dtype"_a, "item_bytes"_a, "rows"_a, "columns"_a,
        "dense"_a.noconvert(), "Fills `dense` from the payload of the coder device that is all of `data`.");
  m.def("decode_entries", &decode_entries, "data"_a.noconvert(), "dtype"_a, "item_bytes"_a, "rows"_a, "columns"_a,
        "filler"_a, "The bitmap of the survivors, their symbols, and the number of entries with the symbol `filler`.");
  m.def("device_sizes", &device_sizes, "data"_a.noconvert(), "dtype"_a, "item_bytes"_a, "rows"_a, "columns"_a,
        "The bytes of the payload before its groups, and of the work buffer that a device needs for it.");
}

}  // namespace dcz::python
