// The table of coders, and the simplest of them.
#include "coding/coders.hpp"

#include <algorithm>
#include <array>
#include <string>

namespace dcz {

std::span<const Coder> coders() {
  static constexpr std::array kCoders{
      Coder{1, "raw", decode_raw, nullptr},
      Coder{2, "sparse", decode_sparse, nullptr},
      Coder{3, "huffman", decode_huffman, decode_huffman_shared},
      Coder{4, "fast", decode_fast, decode_fast_shared},
      Coder{5, "small", decode_small, decode_small_shared},
      Coder{6, "deflate", decode_deflate, nullptr},
      Coder{7, "device", decode_device, decode_device_shared},
  };
  return kCoders;
}

std::span<std::uint8_t> Dense::zeros() {
  std::ranges::fill(to_fill(), std::uint8_t{0});
  return bytes_;
}

std::span<std::uint8_t> Dense::to_fill() {
  touched_ = true;
  return bytes_;
}

void Dense::clear() {
  if (touched_) zeros();
}

void decode_raw(Cursor& payload, const Stored& tensor, unsigned, Dense& dense) {
  const auto data = payload.rest();
  if (data.size() != dense.size()) {
    throw FormatError(std::to_string(data.size()) + " bytes are stored for shape " + to_text(tensor.shape) + " of " +
                      std::string(tensor.dtype.name) + ", which takes " + std::to_string(dense.size()));
  }
  std::ranges::copy(data, dense.to_fill().begin());
}

}  // namespace dcz
