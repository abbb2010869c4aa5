// Fuzzes the decoders of codebooks, values in byte planes, and codes.
#include "values/values.hpp"

#include <bit>

#include "fuzz/fuzz.hpp"

using namespace dcz::fuzz;

namespace {

void codebook(Input input) {
  const std::size_t count = input.number(1, 256);
  const auto width = static_cast<unsigned>(input.number(8, 64));
  std::size_t offset = 0;
  std::vector<std::uint64_t> values;
  if (refused([&] { values = dcz::unpack_ascending(input.rest(), offset, count, width); })) return;
  // There is one way to write a codebook.
  check(values.size() == count && std::ranges::equal(dcz::pack_ascending(values, width), input.rest().first(offset)));
}

struct Places {
  std::vector<std::uint8_t> bitmap;  // empty: all survive
  std::size_t size;

  explicit Places(Input& input) : size(input.number(0, 1u << 16)) {
    const auto pattern = input.number(0, 0xffffffff);
    if (pattern == 0) return;
    bitmap.resize((size + 7) / 8);
    for (std::size_t i = 0; i < size; ++i) {
      if (pattern >> (i % 32) & 1) bitmap[i / 8] = static_cast<std::uint8_t>(bitmap[i / 8] | 1u << (i % 8));
    }
  }

  dcz::Survivors survivors() const { return {bitmap, size}; }
  bool survives(std::size_t i) const { return bitmap.empty() || bitmap[i / 8] >> (i % 8) & 1; }
};

void planes(Input input) {
  const Places places(input);
  const auto item_bytes = static_cast<unsigned>(1u << input.number(0, 3));
  const bool is_float = input.number(0, 1) == 1;
  std::vector<std::uint8_t> dense(places.size * item_bytes);
  std::size_t offset = 0;
  if (refused([&] { dcz::decode_planes(input.rest(), offset, places.survivors(), item_bytes, is_float, dense, 1); })) {
    return;
  }
  check(offset <= input.rest().size());
  for (std::size_t at = 0; at < dense.size(); ++at) check(places.survives(at / item_bytes) || dense[at] == 0);
}

void codes(Input input) {
  const Places places(input);
  const std::size_t centroids = input.number(1, 256);
  std::vector<std::uint8_t> codebook(2 * centroids), dense(2 * places.size);
  for (std::size_t i = 0; i < centroids; ++i) codebook[2 * i] = codebook[2 * i + 1] = static_cast<std::uint8_t>(~i);
  std::size_t offset = 0;
  if (refused([&] { dcz::decode_codes(input.rest(), offset, places.survivors(), codebook, 2, dense, 1); })) return;
  check(offset <= input.rest().size());
  for (std::size_t i = 0; i < places.size; ++i) {
    const std::uint8_t low = dense[2 * i], high = dense[2 * i + 1];
    check(low == high && (places.survives(i) ? static_cast<std::uint8_t>(~low) < centroids : low == 0));
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto kind = input.number(0, 2);
  if (kind == 0) codebook(input);
  if (kind == 1) planes(input);
  if (kind == 2) codes(input);
  return 0;
}
