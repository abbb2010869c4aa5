// Fuzzes the encoder of masks: any bitmap of any shape comes back, and nothing else is read.
#include "fuzz/fuzz.hpp"
#include "mask/mask.hpp"

using namespace dcz::fuzz;

namespace {

// The bytes themselves, or by chance, with a density from one byte for each stretch of elements.
dcz::Bitmap bitmap_from(Bytes bytes, std::uint64_t size, std::uint64_t stretch) {
  dcz::Bitmap mask(size);
  for (std::uint64_t i = 0; i < size && !bytes.empty(); ++i) {
    const bool survives = stretch == 0 ? bytes[i / 8 % bytes.size()] >> (i % 8) & 1
                                       : scattered(i) % 256 < bytes[i / stretch % bytes.size()];
    if (survives) mask.set(i);
  }
  return mask;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto shape = input.shape(1u << 11);
  const dcz::Bitmap mask = bitmap_from(input.rest().subspan(std::min<std::size_t>(4, input.rest().size())),
                                       dcz::extent(shape), input.number(0, 1u << 10));
  auto bytes = dcz::encode_mask(mask, shape);
  const std::size_t length = bytes.size();
  bytes.push_back(0xff);
  std::size_t offset = 0;
  const dcz::Bitmap found = dcz::decode_mask(bytes, offset, shape, 2);
  check(offset == length && std::ranges::equal(found.bytes(), mask.bytes()));
  return 0;
}
