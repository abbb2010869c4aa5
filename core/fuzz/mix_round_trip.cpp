// Fuzzes the encoder by mixed contexts: any positions and codes come back.
#include "bitmap.hpp"
#include "fuzz.hpp"
#include "mix.hpp"

using namespace dcz::fuzz;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto shape = input.shape(1u << 13);
  std::uint64_t elements = 1;
  for (const std::uint64_t axis : shape) elements *= axis;
  const auto density = input.number(0, 256);
  const auto centroids = static_cast<unsigned>(input.number(0, 256));
  const auto negative = static_cast<unsigned>(input.number(0, centroids));
  dcz::Bitmap bitmap(elements);
  for (std::uint64_t i = 0; i < elements; ++i) {
    if (mixed(i) % 256 < density) bitmap.set(i);
  }
  std::vector<std::uint8_t> codes;
  if (centroids > 0) codes = spread(input.rest(), bitmap.count());
  for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(code % centroids);
  if (centroids > 0 && codes.size() != bitmap.count()) return 0;

  const dcz::MixedTensor tensor{shape, bitmap.count(), centroids, negative};
  const auto bytes = dcz::mix_encode(tensor, bitmap.bytes(), codes);
  std::vector<std::uint8_t> bits(bitmap.bytes().size(), 0xaa), found(codes.size());
  dcz::mix_decode(bytes, tensor, bits, found);
  check(std::ranges::equal(bits, bitmap.bytes()) && found == codes);
  return 0;
}
