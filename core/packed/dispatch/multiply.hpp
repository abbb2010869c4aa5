// y = x W^T + bias, straight from packed weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "packed/activations.hpp"

namespace dcz {

// x      vectors x columns
// bias   rows, or null
// y      vectors x rows, apart from x
//
// `float32`: as exact as float32 sums are. `int8`: x rounded to 255 steps between -max|x| and max|x| of its vector, the
// centroids to 255 steps; the form `panel` has no such kernel and computes in float32, more exactly. Infinities and
// NaNs reach y as through a dense layer. The result does not depend on `threads`. Throws std::invalid_argument for
// bytes that are no packed weights, or begin at no multiple of 4.
void multiply(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias, float* y,
              Activations activations, unsigned threads);

}  // namespace dcz
