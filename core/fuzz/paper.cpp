// Fuzzes the decoders of the paper's layout: code tables, streams of symbols, positions.
#include "fuzz/fuzz.hpp"
#include "huffman/huffman.hpp"
#include "mask/paper_gaps.hpp"

using namespace dcz::fuzz;

namespace {

void table_and_stream(Input input) {
  const std::size_t alphabet = 1 + input.count(16) % 65536, count = input.count(20);
  const Bytes data = input.rest();
  std::size_t offset = 0;
  std::vector<std::uint8_t> lengths;
  if (refused([&] { lengths = dcz::unpack_table(data, offset, alphabet); })) return;
  check(offset <= data.size() && lengths.size() == alphabet);
  std::size_t again = 0;
  check(dcz::unpack_table(dcz::pack_table(lengths), again, alphabet) == lengths);

  std::vector<std::uint16_t> symbols(count);
  if (refused([&] { dcz::decode_symbols(data, offset, data.size() - offset, lengths, symbols); })) return;
  // There is one stream for symbols and a code.
  check(std::ranges::equal(dcz::encode_symbols(symbols, lengths), data.subspan(offset)));
  if (alphabet > 256) return;
  std::vector<std::uint8_t> narrow(count);
  dcz::decode_symbols(data, offset, data.size() - offset, lengths, narrow);
  check(std::ranges::equal(symbols, narrow));
}

void positions(Input input) {
  const auto size = input.number(0, 0xffffffff);
  const auto filler_above = input.number(0, 65536);
  std::vector<std::uint16_t> gaps;
  for (Bytes data = input.rest(); data.size() >= 2; data = data.subspan(2)) {
    gaps.push_back(static_cast<std::uint16_t>(data[0] | data[1] << 8));
  }
  std::vector<std::uint8_t> filler(gaps.size());
  std::size_t survivors = 0;
  for (std::size_t i = 0; i < gaps.size(); ++i) survivors += (filler[i] = gaps[i] > filler_above ? 2 : 0) == 0;
  std::vector<std::int64_t> found(survivors + 1);
  if (refused([&] { dcz::from_paper_gaps(gaps, filler, size, found); })) return;
  std::int64_t previous = -1;
  for (std::size_t i = 0; i < survivors; previous = found[i++]) {
    check(found[i] > previous && found[i] < static_cast<std::int64_t>(size));
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto kind = input.number(0, 1);
  if (kind == 0) table_and_stream(input);
  if (kind == 1) positions(input);
  return 0;
}
