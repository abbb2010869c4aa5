// Packed weights of any form: their header, their checks, y = x W^T + bias, and their rows.
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
// centroids to 255 steps. The forms `panel`, `factored` and `word` compute in float32 instead, more exactly. Infinities
// and NaNs reach y as through a dense layer. The result does not depend on `threads`. Throws std::invalid_argument for
// bytes that are no packed weights, or begin at no multiple of 4.
void multiply(std::span<const std::uint8_t> packed, const float* x, std::size_t vectors, const float* bias, float* y,
              Activations activations, unsigned threads);

// Dense rows `first` to `first + count - 1`: count x columns. Throws std::invalid_argument for bytes that are not of
// the forms tile and word or begin at no multiple of 4, std::out_of_range for rows that there are not.
void decode_rows(std::span<const std::uint8_t> packed, std::size_t first, std::size_t count, float* out,
                 unsigned threads);

// The same for any rows in any order.
void gather_rows(std::span<const std::uint8_t> packed, std::span<const std::int64_t> rows, float* out,
                 unsigned threads);

}  // namespace dcz
