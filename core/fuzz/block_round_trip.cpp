// Fuzzes the encoder of blocks: every instruction set writes the same bytes, any symbols come back.
#include "fuzz/every_set.hpp"

using namespace dcz::fuzz;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const std::size_t count = input.count(19), before = input.number(0, 9), behind = input.number(0, 999);
  const auto symbols = spread(input.rest(), count);
  const auto block = encoded_by_every_set(symbols);
  std::vector<std::uint8_t> bytes(before, 0xff);
  bytes.insert(bytes.end(), block.begin(), block.end());
  bytes.resize(bytes.size() + behind, 0xff);

  std::size_t alphabet = 1, offset = before;
  for (const std::uint8_t symbol : symbols) alphabet = std::max<std::size_t>(alphabet, symbol + 1u);
  const auto found = decoded_by_every_set(bytes, offset, symbols.size(), alphabet);
  check(found == symbols && offset == before + block.size());
  return 0;
}
