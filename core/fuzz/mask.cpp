// Fuzzes the decoder of masks.
#include "mask/mask.hpp"

#include "fuzz/fuzz.hpp"

using namespace dcz::fuzz;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto shape = input.shape(kMostElements);
  std::size_t offset = 0;
  refused([&] {
    const dcz::Bitmap mask = dcz::decode_mask(input.rest(), offset, shape, 1);
    check(offset <= input.rest().size() && mask.size() == dcz::extent(shape));
    // refuses a bit behind the last element
    const dcz::Bitmap whole(mask.bytes(), mask.size());
  });
  return 0;
}
