// Fuzzes the encoders of codebooks and values: these come back, and nothing else is read.
#include "fuzz/planes.hpp"

using namespace dcz::fuzz;

namespace {

std::uint64_t item_at(Bytes bytes, std::size_t at, unsigned item_bytes) {
  std::uint64_t item = 0;
  for (unsigned i = 0; i < item_bytes; ++i) item |= std::uint64_t{bytes[at + i]} << (8 * i);
  return item;
}

void codebook(Bytes bytes, unsigned item_bytes) {
  std::vector<std::uint64_t> values;
  for (std::size_t at = 0; at + item_bytes <= bytes.size() && values.size() < 256; at += item_bytes) {
    values.push_back(item_at(bytes, at, item_bytes));
  }
  std::ranges::sort(values);
  values.erase(std::unique(values.begin(), values.end()), values.end());
  auto packed = dcz::pack_ascending(values, 8 * item_bytes);
  const std::size_t length = packed.size();
  packed.push_back(0xff);
  std::size_t offset = 0;
  check(dcz::unpack_ascending(packed, offset, values.size(), 8 * item_bytes) == values && offset == length);
}

// Every other element survives, or all.
void planes(Bytes elements, unsigned item_bytes, bool is_float, bool all) {
  elements = elements.first(elements.size() / item_bytes * item_bytes);
  auto packed = planes_of(elements, item_bytes, is_float);
  const std::size_t length = packed.size(), count = elements.size() / item_bytes, size = all ? count : 2 * count;
  packed.push_back(0xff);
  std::vector<std::uint8_t> places(all ? 0 : (size + 7) / 8, 0x55), dense(size * item_bytes);
  if (!all && size % 8 > 0) places.back() &= static_cast<std::uint8_t>((1u << (size % 8)) - 1);
  std::size_t offset = 0;
  dcz::decode_planes(packed, offset, {places, size}, item_bytes, is_float, dense, 2);
  check(offset == length);
  for (std::size_t at = 0; at < elements.size(); ++at) {
    const std::size_t element = at / item_bytes;
    check(dense[(all ? element : 2 * element) * item_bytes + at % item_bytes] == elements[at]);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto item_bytes = static_cast<unsigned>(1u << input.number(0, 3));
  const bool is_float = input.number(0, 1) == 1, all = input.number(0, 1) == 1;
  const std::size_t count = input.count(18);
  codebook(input.rest(), item_bytes);
  planes(spread(input.rest(), count), item_bytes, is_float, all);
  return 0;
}
