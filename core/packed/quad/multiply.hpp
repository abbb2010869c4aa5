// y = x W^T + bias from packed weights of the form `quad`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "packed/activations.hpp"

namespace dcz {

// As `multiply`. In int8 the bits are those of the form `window`; in float32 it is not what the form is for, and slow.
void multiply_quad(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias,
                   float* y, Activations activations, unsigned threads);

}  // namespace dcz
