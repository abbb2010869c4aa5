// Fuzzes the decoder of blocks, by every instruction set.
#include "fuzz/every_set.hpp"

using namespace dcz::fuzz;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const std::size_t count = input.count(20), alphabet = input.number(1, 256);
  std::size_t offset = 0;
  const auto symbols = decoded_by_every_set(input.rest(), offset, count, alphabet);
  if (!symbols) return 0;
  check(offset <= input.rest().size());
  for (const std::uint8_t symbol : *symbols) check(symbol < alphabet);
  return 0;
}
