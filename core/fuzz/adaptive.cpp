// Fuzzes the adaptive decoder of codebooks, masks and codes.
#include "adaptive/model.hpp"
#include "common/bitmap.hpp"
#include "common/shape.hpp"
#include "fuzz/fuzz.hpp"

using namespace dcz::fuzz;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto shape = input.shape(1u << 14);
  const std::uint64_t elements = dcz::extent(shape);
  const auto survivors = input.number(0, elements);
  const auto centroids = static_cast<unsigned>(input.number(0, 256));
  const auto width = static_cast<unsigned>(8 * input.number(1, 8));
  std::vector<std::uint8_t> bitmap(dcz::Bitmap::size_bytes(elements), 0xaa), codes(centroids > 0 ? survivors : 0);
  std::vector<std::uint64_t> codebook(centroids);
  const dcz::AdaptiveTensor tensor{shape, survivors, centroids, width};
  if (refused([&] { dcz::decode_adaptive(input.rest(), tensor, codebook, bitmap, codes); })) return 0;
  // refuses a bit behind the last element
  check(dcz::Bitmap(bitmap, elements).count() == survivors);
  for (const std::uint8_t code : codes) check(code < centroids);
  for (std::size_t i = 1; i < codebook.size(); ++i) check(codebook[i] > codebook[i - 1]);
  if (!codebook.empty()) check(width == 64 || codebook.back() >> width == 0);
  return 0;
}
