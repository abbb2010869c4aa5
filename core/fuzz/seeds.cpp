// Writes the first inputs of fuzzing, from the encoders and golden files: seeds <folder> fills <folder>/<target>/.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "adaptive/model.hpp"
#include "block/block.hpp"
#include "common/fields.hpp"
#include "file/reader.hpp"
#include "fuzz/groups.hpp"
#include "fuzz/planes.hpp"
#include "huffman/huffman.hpp"
#include "lanes/code.hpp"
#include "lanes/encoder.hpp"
#include "mask/mask.hpp"
#include "packed/factored/factored.hpp"
#include "packed/panel/panel.hpp"
#include "packed/quad/quad.hpp"
#include "packed/tile/tile.hpp"
#include "packed/window/window.hpp"
#include "packed/word/word.hpp"

namespace {

using namespace dcz::fuzz;
using Vector = std::vector<std::uint8_t>;

std::filesystem::path folder;

template <typename Chance>
dcz::Bitmap bitmap_by(std::uint64_t size, const Chance& survives) {
  dcz::Bitmap bitmap(size);
  for (std::uint64_t i = 0; i < size; ++i) {
    if (survives(i)) bitmap.set(i);
  }
  return bitmap;
}

void write(const std::string& target, const std::vector<std::uint64_t>& numbers, Bytes rest) {
  static int number = 0;
  std::filesystem::create_directories(folder / target);
  std::ofstream file(folder / target / std::to_string(number++), std::ios::binary);
  for (const std::uint64_t value : numbers) {
    for (unsigned i = 0; i < 4; ++i) file.put(static_cast<char>(value >> (8 * i)));
  }
  for (const std::uint8_t byte : rest) file.put(static_cast<char>(byte));
  if (!file.flush()) throw std::runtime_error("a seed could not be written");
}

// About a geometric distribution over the symbols below `alphabet`.
Vector symbols_of(std::size_t count, unsigned alphabet, unsigned steep) {
  Vector symbols(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t chance = scattered(i);
    unsigned symbol = 0;
    while (symbol + 1 < alphabet && chance >> (symbol % 60) % 61 & 1 && symbol < steep) ++symbol;
    symbols[i] = static_cast<std::uint8_t>(symbol < steep ? symbol : chance % alphabet);
  }
  return symbols;
}

// Lanes for fewer symbols than the encoder would use them for: `segments` of `rounds` whole rounds each.
Vector block_in_lanes(dcz::LaneLayout layout, std::size_t segments, std::size_t rounds, unsigned alphabet) {
  const std::size_t each = rounds * layout.round();
  const Vector symbols = symbols_of(segments * each, alphabet, 4);
  std::vector<std::uint64_t> counts(256);
  for (const std::uint8_t symbol : symbols) ++counts[symbol];
  const bool narrow = layout.turn == dcz::kNarrow.turn;
  const Vector lengths = narrow ? dcz::narrow_lengths(counts) : dcz::wide_lengths(counts);
  const dcz::LaneCode code = dcz::make_lane_code(lengths, layout);
  dcz::LaneEncoder encoder(code, static_cast<std::uint8_t>(code.singles[0] >> 8), alphabet, each);
  Vector written;
  std::vector<std::size_t> exceptions;
  std::vector<std::size_t> bytes;
  for (std::size_t i = 0; i < segments; ++i) {
    const std::size_t before = written.size();
    encoder.append(Bytes(symbols).subspan(i * each, each), i * each, written, exceptions);
    bytes.push_back(written.size() - before);
  }
  Vector out{static_cast<std::uint8_t>(narrow ? 3 : 4)};
  dcz::append(out, dcz::pack_table(lengths));
  if (narrow) {
    Vector rare;
    for (std::size_t s = 0; s < 256; ++s) {
      if (counts[s] > 0 && lengths[s] == 0) rare.push_back(static_cast<std::uint8_t>(s));
    }
    dcz::put_varint(out, rare.size());
    dcz::append(out, rare);
    if (!rare.empty()) dcz::put_varint(out, exceptions.size());
    std::size_t next = 0;
    for (const std::size_t at : exceptions) {
      const auto which = std::ranges::find(rare, symbols[at]) - rare.begin();
      dcz::put_varint(out, (at - next) * rare.size() + static_cast<std::size_t>(which));
      next = at + 1;
    }
  }
  dcz::put_varint(out, segments);
  for (const std::size_t length : bytes) dcz::put_varint(out, length);
  dcz::append(out, written);
  return out;
}

void blocks() {
  for (const auto& [count, alphabet, steep] : {std::tuple<std::size_t, unsigned, unsigned>{0, 1, 0},
                                               {1, 1, 0},
                                               {70'000, 1, 0},
                                               {64, 256, 0},
                                               {300, 5, 9},
                                               {900, 40, 3},
                                               {70'000, 3, 2},
                                               {70'000, 40, 5},
                                               {70'000, 130, 1},
                                               {130'000, 256, 3}}) {
    const Vector symbols = symbols_of(count, alphabet, steep);
    const Vector block = dcz::encode_block(symbols);
    if (block.size() < 8000) write("block", {20, count, alphabet}, block);
    write("block_round_trip", {count < 1024 ? 10u : 19u, count, 1, 9}, Bytes(symbols).first(std::min(count, {900})));
  }
  for (const auto layout : {dcz::kNarrow, dcz::kWide}) {
    for (const auto& [segments, rounds] : {std::pair<std::size_t, std::size_t>{1, 1}, {1, 9}, {3, 2}, {7, 1}}) {
      for (const unsigned alphabet : {2u, 20u, 70u, 256u}) {
        const Vector block = block_in_lanes(layout, segments, rounds, alphabet);
        const std::size_t count = segments * rounds * layout.round();
        std::size_t offset = 0;
        Vector found(count);
        dcz::decode_block(block, offset, found, alphabet, 1);
        check(found == symbols_of(count, alphabet, 4));
        write("block", {20, count, alphabet}, block);
      }
    }
  }
}

void masks() {
  const std::vector<std::vector<std::uint64_t>> shapes{{}, {0, 7}, {33}, {900}, {40, 60}, {64, 128}, {16, 8, 3, 3}};
  for (const auto& shape : shapes) {
    // densities: none, all, low, high, by rows, by columns, a few bytes as they are
    for (unsigned kind = 0; kind < 7; ++kind) {
      const std::uint64_t size = dcz::extent(shape), columns = shape.size() < 2 ? 8 : size / (shape[0] + 1) + 1;
      const auto density = [&](std::uint64_t i) -> std::uint64_t {
        if (kind == 4) return i / columns % 4 == 0 ? 200 : 9;
        if (kind == 5) return i % columns % 3 == 0 ? 120 : 4;
        return std::array<std::uint64_t, 7>{0, 256, 20, 230, 0, 0, 128}[kind];
      };
      const dcz::Bitmap mask =
          bitmap_by(size, [&](auto i) { return scattered(kind == 6 ? i / 9 % 5 * 9 + i % 9 : i) % 256 < density(i); });
      std::vector<std::uint64_t> numbers{shape.size()};
      numbers.insert(numbers.end(), shape.begin(), shape.end());
      write("mask", numbers, dcz::encode_mask(mask, shape));
      numbers.push_back(kind == 4 ? columns : kind == 5 ? 1 : 0);
      const Vector bits(mask.bytes().begin(), mask.bytes().end());
      write("mask_round_trip", numbers, kind == 4 || kind == 5 ? Vector{200, 9, 9, 9} : bits);
    }
  }
}

void values() {
  const Vector bytes = symbols_of(800, 256, 3);
  for (const unsigned exponent : {0u, 1u, 2u, 3u}) {
    const unsigned item_bytes = 1u << exponent;
    std::vector<std::uint64_t> ascending;
    for (std::uint64_t i = 0; i < 12; ++i) ascending.push_back(i * (i + 9));
    write("values", {0, 12, 8 * item_bytes}, dcz::pack_ascending(ascending, 8 * item_bytes));
    for (const unsigned is_float : {0u, 1u}) {
      const std::size_t survivors = bytes.size() / item_bytes;
      write("values", {1, survivors, 0, exponent, is_float}, planes_of(bytes, item_bytes, is_float == 1));
      write("values", {1, 2 * survivors, 0x55555555, exponent, is_float}, planes_of(bytes, item_bytes, is_float == 1));
      write("values_round_trip", {exponent, is_float, is_float, 10, bytes.size()}, bytes);
    }
  }
  const Vector codes = symbols_of(500, 16, 8);
  write("values", {2, 500, 0, 16}, dcz::encode_block(codes));
  write("values", {2, 1000, 0x55555555, 16}, dcz::encode_block(codes));
}

void papers() {
  for (const auto& [count, alphabet] : {std::pair<std::size_t, unsigned>{9, 1}, {200, 4}, {900, 256}}) {
    const Vector symbols = symbols_of(count, alphabet, 8);
    const std::vector<std::uint16_t> wide(symbols.begin(), symbols.end());
    const auto lengths = dcz::code_lengths(dcz::symbol_counts(wide, 65536));
    Vector bytes = dcz::pack_table(lengths);
    dcz::append(bytes, dcz::encode_symbols(wide, lengths));
    for (const unsigned bits : {8u, 16u}) write("paper", {0, bits, (1u << bits) - 1, 20, count}, bytes);
    write("paper", {1, 70'000'000, 65536}, symbols);
    write("paper_round_trip", {4, 10, count}, symbols);
  }
}

void adaptive() {
  const std::vector<std::vector<std::uint64_t>> shapes{{}, {0, 7}, {900}, {20, 30}, {4, 8, 3, 3}, {2, 3, 1, 5}};
  for (const auto& shape : shapes) {
    for (const unsigned centroids : {0u, 1u, 6u, 256u}) {
      for (const std::uint64_t density : {0u, 30u, 256u}) {
        const auto bitmap = bitmap_by(dcz::extent(shape), [&](auto i) { return scattered(i) % 256 < density; });
        const Vector codes = symbols_of(centroids > 0 ? bitmap.count() : 0, std::max(centroids, 1u), 5);
        std::vector<std::uint64_t> codebook(centroids);
        for (std::size_t i = 0; i < centroids; ++i) codebook[i] = (i << 23) + scattered(i) % (1u << 22);
        std::vector<std::uint64_t> numbers{shape.size()};
        numbers.insert(numbers.end(), shape.begin(), shape.end());
        auto known = numbers;
        known.insert(known.end(), {bitmap.count(), centroids, 4});  // 4 bytes a centroid
        write("adaptive", known,
              dcz::encode_adaptive({shape, bitmap.count(), centroids, 32}, codebook, bitmap.bytes(), codes));
        numbers.insert(numbers.end(), {density, centroids, 4});
        write("adaptive_round_trip", numbers, codes);
      }
    }
  }
}

void rows() {
  for (const std::uint64_t rows : {1, 3, 50}) {
    for (const std::uint64_t columns : {1, 9, 70}) {
      for (const unsigned density : {3u, 40u, 200u, 256u}) {
        const auto bitmap = bitmap_by(rows * columns, [&](auto i) { return scattered(i) % 256 < density; });
        const Vector symbols = symbols_of(bitmap.count(), 20, 5);
        if (symbols.empty()) continue;
        const auto group = std::min<std::uint64_t>(rows, 20);
        write("rows", {4, rows, columns, 256}, write_groups(bitmap.bytes(), rows, columns, group, 63, symbols));
        write("rows_round_trip", {rows, columns, group, 7, density}, symbols);
      }
    }
  }
}

void packed() {
  for (const auto& [rows, columns] : {std::pair<std::uint64_t, std::uint64_t>{0, 5}, {3, 0}, {1, 1}, {20, 130}}) {
    for (const unsigned centroids : {3u, 20u, 200u}) {
      const auto bitmap = bitmap_by(rows * columns, [](auto i) { return scattered(i) % 256 < 40; });
      const Vector codes = symbols_of(bitmap.count(), centroids, 5);
      std::vector<float> codebook(centroids);
      std::vector<std::int16_t> digits(centroids);
      for (std::size_t i = 0; i < centroids; ++i)
        codebook[i] = digits[i] = static_cast<std::int16_t>(static_cast<int>(i % 128) - 70);
      const dcz::Matrix matrix{rows, columns, bitmap.bytes(), codes, codebook};
      for (const auto grid : {dcz::Grid::none, dcz::Grid::int8, dcz::Grid::int16}) {
        const dcz::Digits all{grid, 1, 1, digits, digits};
        for (const auto layout : {dcz::WindowLayout::by_row, dcz::WindowLayout::by_slot, dcz::WindowLayout::digits24,
                                  dcz::WindowLayout::one_window}) {
          const auto window = dcz::pack_window(matrix, all, layout);
          for (const unsigned int8 : {0u, 1u}) write("packed", {3, 0, int8, 1}, window);
        }
      }
      write("packed", {3, 0, 0, 1}, dcz::pack_panel(matrix));
      for (const unsigned int8 : {0u, 1u})
        write("packed", {3, 0, int8, 1}, dcz::pack_quad(matrix, {dcz::Grid::int8, 1, digits}));
      write("packed", {1, 0, 0, 1}, dcz::pack_factored(matrix));
      write("packed", {3, 0, 0, 1}, dcz::pack_tile(matrix));
      write("packed", {3, 0, 0, 1}, dcz::pack_word(matrix));
    }
  }
}

// The golden files, whole, and each of their payloads.
void files() {
  for (const char* kind : {"good", "bad"}) {
    for (const auto& each : std::filesystem::directory_iterator(std::filesystem::path("tests/golden") / kind)) {
      std::ifstream stream(each.path(), std::ios::binary);
      const Vector file{std::istreambuf_iterator<char>(stream), {}};
      if (file.size() < 8000) write("file", {0}, file);
      std::unique_ptr<dcz::Reader> reader;
      if (refused([&] { reader = std::make_unique<dcz::Reader>(dcz::memory_source(file), ""); })) continue;
      std::size_t at = 5;
      const auto length = static_cast<std::size_t>(dcz::take_varint(file, at, "length"));
      write("file", {1}, Bytes(file).subspan(at, length));
      for (const dcz::Entry& entry : reader->index().entries) {
        if (entry.length > 8000 || entry.shape.size() > 5) continue;
        std::vector<std::uint64_t> numbers{
            2, entry.coder->number, static_cast<std::uint64_t>(entry.dtype - dcz::kDtypes.data()), entry.shape.size()};
        numbers.insert(numbers.end(), entry.shape.begin(), entry.shape.end());
        write("file", numbers, Bytes(file).subspan(entry.offset, entry.length));
      }
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: seeds <folder>\n";
    return 2;
  }
  folder = arguments[1];
  blocks();
  masks();
  values();
  papers();
  adaptive();
  rows();
  packed();
  files();
}
