// Convolutions of stride 1 straight from the survivors of the form `tile`, without dense weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dcz {

// x is batch x groups * channels x height x width, y batch x rows x out_height x out_width, both in C order. A row of
// the packed weights is channels x kernel_height x kernel_width, in C order too. Columns outside of x are zeros.
struct ConvolutionShape {
  std::size_t batch, groups, channels, height, width;
  std::size_t kernel_height, kernel_width;
  std::size_t padding_top, padding_left, dilation_height, dilation_width;
  std::size_t out_height, out_width;
};

// Whether this CPU has a kernel: AVX-512 alone, others compute densely faster.
bool has_sparse_convolution();

// y = convolution + bias (rows, or null). The result does not depend on `threads`. False, with y untouched, if x is not
// finite: only dense weights bring infinities and NaNs everywhere they belong. Throws std::invalid_argument for bytes
// that are no tile form of that many columns, and shapes whose parts do not fit together.
bool convolve_sparse(std::span<const std::uint8_t> packed, const ConvolutionShape& shape, const float* x,
                     const float* bias, float* y, unsigned threads);

}  // namespace dcz
