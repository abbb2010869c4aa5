// Fuzzes the encoder of blocks: every instruction set writes the same bytes, any symbols come back, and the size is
// known from their counts.
#include "common/fields.hpp"
#include "fuzz/every_set.hpp"

using namespace dcz::fuzz;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const std::size_t count = input.count(19), before = input.number(0, 9), behind = input.number(0, 999);
  const auto symbols = spread(input.rest(), count);
  const auto block = encoded_by_every_set(symbols);
  std::vector<std::uint64_t> counts(256);
  for (const std::uint8_t symbol : symbols) ++counts[symbol];
  const std::uint64_t estimate = dcz::block_bytes(counts), actual = block.size();
  // exact for a stream; for lanes the padding and the distances of exceptions are estimates
  const std::uint64_t error = std::max(estimate, actual) - std::min(estimate, actual);
  check(symbols.size() < 65536 ? error == 0 : error <= actual / 100 + symbols.size() / 160 + 64);

  std::vector<std::uint8_t> bytes(before, 0xff);
  dcz::append(bytes, block);
  bytes.resize(bytes.size() + behind, 0xff);

  std::size_t alphabet = 1, offset = before;
  for (const std::uint8_t symbol : symbols) alphabet = std::max<std::size_t>(alphabet, symbol + 1u);
  const auto found = decoded_by_every_set(bytes, offset, symbols.size(), alphabet);
  check(found == symbols && offset == before + block.size());
  return 0;
}
