// y = x W^T + bias from packed weights of the form `window`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "packed/activations.hpp"

namespace dcz {

// As `multiply`.
void multiply_window(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                     float* y, Activations activations, unsigned threads);

}  // namespace dcz
