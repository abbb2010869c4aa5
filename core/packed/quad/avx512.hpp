// The form `quad` with AVX-512: a register holds a column of 64 vectors, a byte each.
//
// Unpacking interleaves four columns, so that each vector has four bytes. `vpdpbusd` multiplies them by four digits and
// adds them to the vector's sum. Unpacking stays within 16 bytes: byte 16 * l + 4 * k + e of a column belongs to vector
// 16 * k + 4 * l + e. Its sums are then in register k, lane 4 * l + e.
#pragma once

#include "packed/avx512.hpp"
#include "packed/quad/kernel.hpp"

namespace dcz::avx512 {

inline constexpr std::size_t kQuadVectors = 64;

// The columns of a block, from float32.
void prepare_quad(const QuadTask& task, std::size_t block);

// The sums of a panel, row by row, to y, vector by vector.
void finish_quad(const QuadTask& task, std::size_t panel, const std::uint8_t* sums);

}  // namespace dcz::avx512
