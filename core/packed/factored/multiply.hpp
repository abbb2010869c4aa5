// y = x W^T + bias from packed weights of the form `factored`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dcz {

// As `multiply`, in float32 alone, one vector after the other.
void multiply_factored(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                       float* y, unsigned threads);

}  // namespace dcz
