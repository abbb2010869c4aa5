// Fuzzes the decoder of the coder `device`: rows and entries agree, or both are refused.
#include <array>

#include "common/bit_walk.hpp"
#include "fuzz/fuzz.hpp"
#include "rows/decode.hpp"

using namespace dcz::fuzz;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // numbers of docs/format.md: F64, F32, F16, I32, U8
  constexpr std::array<std::pair<unsigned, unsigned>, 5> kDtypes{{{0, 8}, {1, 4}, {2, 2}, {7, 4}, {13, 1}}};
  Input input(data, size);
  const auto dtype = kDtypes[input.number(0, kDtypes.size() - 1)];
  const unsigned item_bytes = dtype.second;
  const auto rows = input.number(0, 1000), columns = input.number(0, 1000), filler = input.number(0, 256);
  const dcz::DevicePayload payload{input.rest(), dtype.first, item_bytes, rows, columns};
  std::vector<std::uint8_t> dense(rows * columns * item_bytes);
  dcz::Entries entries;
  const bool entries_refused = refused([&] { entries = dcz::decode_entries(payload, static_cast<unsigned>(filler)); });
  check(refused([&] { dcz::decode_rows(payload, dense); }) == entries_refused);
  if (entries_refused) return 0;
  const auto survivors = dcz::count_bits(entries.bitmap, 0, rows * columns);
  check(survivors == entries.symbols.size() && survivors + entries.fillers <= rows * columns);
  std::size_t next = 0;
  dcz::each_bit(entries.bitmap, 0, rows * columns, [&](std::uint64_t at) {
    const std::uint8_t symbol = entries.symbols[next++];
    check(symbol != filler && (item_bytes > 1 || dense[at] == symbol));
  });
  return 0;
}
