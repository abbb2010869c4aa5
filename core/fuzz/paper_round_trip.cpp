// Fuzzes the encoders of the paper's layout: symbols and positions come back.
#include <memory>

#include "common/fields.hpp"
#include "fuzz/fuzz.hpp"
#include "huffman/huffman.hpp"
#include "mask/paper_gaps.hpp"

using namespace dcz::fuzz;

namespace {

void symbols(std::span<const std::uint16_t> symbols, std::size_t alphabet) {
  const auto lengths = dcz::code_lengths(dcz::symbol_counts(symbols, alphabet));
  if (symbols.empty()) return;
  auto bytes = dcz::pack_table(lengths);
  const auto stream = dcz::encode_symbols(symbols, lengths);
  const std::size_t table = bytes.size();
  dcz::append(bytes, stream);
  std::size_t offset = 0;
  check(dcz::unpack_table(bytes, offset, alphabet) == lengths && offset == table);
  std::vector<std::uint16_t> found(symbols.size());
  dcz::decode_symbols(bytes, offset, stream.size(), lengths, found);
  check(std::ranges::equal(found, symbols));
}

void positions(std::span<const std::uint16_t> steps, unsigned gap_bits) {
  std::vector<std::int64_t> positions;
  std::int64_t next = 0;
  for (const std::uint16_t step : steps) {
    positions.push_back(next += step);
    ++next;
  }
  const std::size_t entries = positions.size() + dcz::paper_gap_counts(positions, gap_bits).fillers;
  if (entries > kMostElements) return;
  std::vector<std::uint16_t> gaps(entries);
  const auto filler = std::make_unique<bool[]>(entries);
  dcz::to_paper_gaps(positions, gap_bits, gaps, {filler.get(), entries});
  const std::vector<std::uint8_t> truths(filler.get(), filler.get() + entries);
  std::vector<std::int64_t> found(positions.size() + 1);
  dcz::from_paper_gaps(gaps, truths, static_cast<std::uint64_t>(next), found);
  found.pop_back();
  check(found == positions);
  symbols(gaps, std::size_t{1} << gap_bits);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto gap_bits = static_cast<unsigned>(input.number(2, 16)), symbol_bits = 8 + gap_bits / 2;
  const std::size_t count = input.count(12);
  const auto bytes = spread(input.rest(), count);
  std::vector<std::uint16_t> pairs(bytes.size() / 2);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    pairs[i] = static_cast<std::uint16_t>((bytes[2 * i] | bytes[2 * i + 1] << 8) & ((1u << symbol_bits) - 1));
  }
  symbols(pairs, std::size_t{1} << symbol_bits);
  positions(pairs, gap_bits);
  return 0;
}
