// Prints checksums of encoded bytes, and whether they decode to the same: equal lines on every machine.
#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <span>
#include <vector>

#include "adaptive/model.hpp"
#include "block/block.hpp"
#include "cross/random.hpp"
#include "mask/mask.hpp"
#include "sharing/kmeans.hpp"
#include "values/values.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;

void report(const char* what, const Bytes& written, bool same) {
  std::printf("%-10s %8zu bytes %016" PRIx64 " %s\n", what, written.size(), checksum(written),
              same ? "same" : "DIFFERS");
}

void block(std::size_t count, unsigned alphabet) {
  Bytes symbols(count), decoded(count);
  for (auto& symbol : symbols) {
    unsigned value = 0;
    while (value + 1 < alphabet && random_bits() % alphabet > 3) value += 1 + static_cast<unsigned>(random_bits() % 2);
    symbol = static_cast<std::uint8_t>(std::min(value, alphabet - 1));
  }
  const Bytes written = dcz::encode_block(symbols);
  std::size_t offset = 0;
  dcz::decode_block(written, offset, decoded, 256, 1);
  report("block", written, decoded == symbols && offset == written.size());
}

void tensor(const std::vector<std::uint64_t>& shape, unsigned percent) {
  const std::uint64_t size = dcz::extent(shape);
  dcz::Bitmap mask(size);
  for (std::uint64_t i = 0; i < size; ++i) {
    if (random_bits() % 100 < percent * (1 + i / 64 % 3) / 2) mask.set(i);
  }
  const Bytes bitmap(mask.bytes().begin(), mask.bytes().end());
  const Bytes written = dcz::encode_mask(mask, shape);
  std::size_t offset = 0;
  const dcz::Bitmap read = dcz::decode_mask(written, offset, shape, 1);
  report("mask", written, std::equal(bitmap.begin(), bitmap.end(), read.bytes().begin()));

  Bytes codes(static_cast<std::size_t>(mask.count())), found_codes(codes.size()), found(bitmap.size());
  for (auto& code : codes) code = static_cast<std::uint8_t>(random_bits() % 7 + random_bits() % 9);
  std::vector<std::uint64_t> codebook(16), found_codebook(16);
  for (std::size_t i = 0; i < codebook.size(); ++i) codebook[i] = (i << 28) + (random_bits() >> 37);
  const dcz::AdaptiveTensor known{shape, mask.count(), 16, 32};
  const Bytes string = dcz::encode_adaptive(known, codebook, bitmap, codes);
  dcz::decode_adaptive(string, known, found_codebook, found, found_codes);
  report("adaptive", string, found == bitmap && found_codes == codes && found_codebook == codebook);
}

void centroids() {
  std::vector<float> values(20000);
  for (auto& value : values) value = static_cast<float>(random_bits() >> 40) * 1e-6f;
  std::sort(values.begin(), values.end());
  for (const float centroid : dcz::optimal_centroids(values, 16)) {
    std::printf("%08" PRIx32 " ", std::bit_cast<std::uint32_t>(centroid));
  }
  std::printf("\n");
}

}  // namespace

int main() {
  for (const std::size_t count : {1, 100, 5000, 65535, 65536, 70001, 300000, 600001}) {
    for (const unsigned alphabet : {1, 2, 5, 32, 100, 256}) block(count, alphabet);
  }
  for (const unsigned percent : {2, 10, 40, 60, 95}) {
    for (const auto& shape : {std::vector<std::uint64_t>{300, 400}, {64, 64, 3, 3}, {1000}}) tensor(shape, percent);
  }
  centroids();
}
