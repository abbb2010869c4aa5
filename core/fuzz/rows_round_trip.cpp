// Fuzzes the encoder of the coder `device`: entries come back.
#include "fuzz/groups.hpp"
#include "rows/decode.hpp"

using namespace dcz::fuzz;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto rows = input.number(1, 300), columns = input.number(1, 300), group = input.number(1, rows);
  const auto escape = static_cast<unsigned>(input.number(1, 255));
  const auto density = input.number(0, 256);
  std::vector<std::uint8_t> bitmap((rows * columns + 7) / 8);
  std::size_t count = 0;
  for (std::uint64_t at = 0; at < rows * columns; ++at) {
    if (scattered(at) % 256 >= density) continue;
    bitmap[at / 8] = static_cast<std::uint8_t>(bitmap[at / 8] | 1u << (at % 8));
    ++count;
  }
  const auto symbols = spread(input.rest(), count);
  if (symbols.empty()) return 0;
  const auto payload = write_groups(bitmap, rows, columns, group, escape, symbols);
  const dcz::Entries found = dcz::decode_entries({payload, 13, 1, rows, columns}, 256);
  check(found.bitmap == bitmap && found.symbols == symbols);
  return 0;
}
