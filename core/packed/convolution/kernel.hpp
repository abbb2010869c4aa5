// The kernels of sparse convolutions, one instruction set so far.
//
// A tile is a rectangle of one image's outputs, in rows of whole vectors, at most kMostVectors. A kernel sums all of
// them up in registers, for one row of the weights at a time. Blocks of channels of a tile's inputs stay in the first
// cache: a copy for each column of the kernel, shifted so that every vector is aligned, with zeros outside of the
// image. In a block, a survivor is a value and an offset in bytes, from which all vectors of the tile follow.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/kernels.hpp"
#include "packed/tile/tile.hpp"

namespace dcz {

inline constexpr std::size_t kVectorFloats = 16, kMostVectors = 28;

// Elements that kernels may write behind the survivors of a row, and read behind the offsets of columns.
inline constexpr std::size_t kStreamSlack = 64;

// The survivors of some rows. Those of row r and block b lie between `ends[r * blocks + b - 1]` (0 for b = 0) and
// `ends[r * blocks + b]`, counted from r * stride.
struct SurvivorStream {
  std::size_t stride;  // columns + kStreamSlack
  float* values;
  std::uint32_t* offsets;
  std::uint32_t* ends;
};

// The source of a stream: rows of `view`. A block has `block_columns` columns; `column_offsets` has their places, and
// kStreamSlack elements behind the last.
struct StreamTask {
  const TileView* view;
  std::size_t blocks, block_columns;
  const std::uint32_t* column_offsets;
  SurvivorStream stream;
};

// Some survivors of a stream.
struct SurvivorSpan {
  const float* values;
  const std::uint32_t* offsets;
  std::size_t count;
};

struct ConvolutionKernel {
  bool (*all_finite)(const float* x, std::size_t count);
  // Makes the stream of row `row` as its number `number`.
  void (*make_stream)(const StreamTask& task, std::size_t row, std::size_t number);
  // sums[i] = *start + the sum of value * inputs[offset + i], for all i of `vectors` vectors. Without `start` the sum
  // is added to sums[i]. Inputs are aligned.
  void (*add_survivors)(const SurvivorSpan& from, const float* inputs, std::size_t vectors, const float* start,
                        float* sums);
};

extern const ConvolutionKernel kConvolutionAvx512;

inline constexpr KernelTable<const ConvolutionKernel> kConvolution{.avx512 = DCZ_IF_X86(&kConvolutionAvx512)};

}  // namespace dcz
