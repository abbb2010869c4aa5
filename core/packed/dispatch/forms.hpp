// Packed weights of any form: their header, their checks, and y = x W^T + bias.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "packed/activations.hpp"
#include "packed/packed.hpp"

namespace dcz {

// The header. The sections confirm its sizes: callers allocate by them. Throws std::invalid_argument.
PackedHeader header_of(std::span<const std::uint8_t> packed);

// Checks every number that kernels would only clamp. Throws std::invalid_argument.
void check_packed(std::span<const std::uint8_t> packed);

// x      vectors x columns
// bias   rows, or null
// y      vectors x rows, apart from x
//
// `float32`: as exact as float32 sums are. `int8`: x rounded to 255 steps between -max|x| and max|x| of its vector, the
// centroids to 255 steps. The forms `panel` and `factored` compute in float32 instead, more exactly. Infinities and
// NaNs reach y as through a dense layer. The result does not depend on `threads`. Throws std::invalid_argument for
// bytes that are no packed weights, or begin at no multiple of 4.
void multiply(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias, float* y,
              Activations activations, unsigned threads);

}  // namespace dcz
