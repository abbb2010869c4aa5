// Fuzzes the adaptive encoder: any centroids, masks and codes come back.
#include "adaptive/model.hpp"
#include "common/bitmap.hpp"
#include "common/shape.hpp"
#include "fuzz/fuzz.hpp"

using namespace dcz::fuzz;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto shape = input.shape(1u << 13);
  const std::uint64_t elements = dcz::extent(shape);
  const auto density = input.number(0, 256);
  const auto centroids = static_cast<unsigned>(input.number(0, 256));
  const auto width = static_cast<unsigned>(8 * input.number(2, 8));
  std::vector<std::uint64_t> codebook(centroids);
  for (std::size_t i = 0; i < centroids; ++i) {
    // 256 steps of at most 1/256 of the range
    codebook[i] = (i > 0 ? codebook[i - 1] : 0) + 1 + scattered(i + density) % ((1ull << (width - 8)) - 1);
  }
  dcz::Bitmap bitmap(elements);
  for (std::uint64_t i = 0; i < elements; ++i) {
    if (scattered(i) % 256 < density) bitmap.set(i);
  }
  std::vector<std::uint8_t> codes;
  if (centroids > 0) codes = spread(input.rest(), bitmap.count());
  for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(code % centroids);
  if (centroids > 0 && codes.size() != bitmap.count()) return 0;

  const dcz::AdaptiveTensor tensor{shape, bitmap.count(), centroids, width};
  const auto bytes = dcz::encode_adaptive(tensor, codebook, bitmap.bytes(), codes);
  std::vector<std::uint8_t> bits(bitmap.bytes().size(), 0xaa), found(codes.size());
  std::vector<std::uint64_t> centroids_found(centroids);
  dcz::decode_adaptive(bytes, tensor, centroids_found, bits, found);
  check(std::ranges::equal(bits, bitmap.bytes()) && found == codes && centroids_found == codebook);
  return 0;
}
