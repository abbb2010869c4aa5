// Fuzzes the decoder of positions and codes that are coded by mixed contexts.
#include "mix.hpp"

#include "bitmap.hpp"
#include "fuzz.hpp"

using namespace dcz::fuzz;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto shape = input.shape(1u << 14);
  std::uint64_t elements = 1;
  for (const std::uint64_t axis : shape) elements *= axis;
  const auto survivors = input.number(0, elements);
  const auto centroids = static_cast<unsigned>(input.number(0, 256));
  const auto negative = static_cast<unsigned>(input.number(0, centroids));
  std::vector<std::uint8_t> bitmap(dcz::Bitmap::size_bytes(elements), 0xaa), codes(centroids > 0 ? survivors : 0);
  if (refused([&] { dcz::mix_decode(input.rest(), {shape, survivors, centroids, negative}, bitmap, codes); })) return 0;
  // refuses a bit behind the last element
  check(dcz::Bitmap(bitmap, elements).count() == survivors);
  for (const std::uint8_t code : codes) check(code < centroids);
  return 0;
}
