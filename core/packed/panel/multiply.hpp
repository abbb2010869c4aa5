// y = x W^T + bias from packed weights of the form `panel`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dcz {

// As `multiply`, in float32 alone.
void multiply_panel(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                    float* y, unsigned threads);

}  // namespace dcz
