// What the files of the form `quad` with AVX-512 share: a register holds a column of 64 vectors, a byte each.
//
// Four columns, interleaved by unpacking, have four bytes for each vector, which `vpdpbusd` multiplies by four digits
// and adds to its sum. Unpacking stays within 16 bytes: the sums of vector 16 * k + 4 * l + e are in register k, lane
// 4 * l + e, if its byte is number 16 * l + 4 * k + e of a column, and so it is.
#pragma once

#include "packed/quad/kernel.hpp"
#include "packed/segments/square_avx512.hpp"

namespace dcz::avx512 {

inline constexpr std::size_t kQuadVectors = 64;

// The columns of a block, from float32.
void prepare_quad(const QuadTask& task, std::size_t block);

// The sums of a panel, row by row, to y, vector by vector.
void finish_quad(const QuadTask& task, std::size_t panel, const std::uint8_t* sums);

}  // namespace dcz::avx512
