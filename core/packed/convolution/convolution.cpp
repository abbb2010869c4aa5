// Sparse convolutions: the order of rows, tiles and blocks of channels, and their inputs.
#include "packed/convolution/convolution.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
#include <stdexcept>

#include "common/pool.hpp"
#include "common/scratch.hpp"
#include "packed/convolution/kernel.hpp"

namespace dcz {

namespace {

constexpr std::size_t kInputBytes = 40960;                  // of a block of channels: most of the first cache
constexpr std::size_t kStreamBytes = std::size_t{4} << 20;  // of the survivors at a time
constexpr std::size_t kMostRows = 128;  // of the weights at a time: the second cache holds their sums

std::size_t parts_of(std::size_t whole, std::size_t part) { return (whole + part - 1) / part; }

// The size of parts of about the same size, at most `most`.
std::size_t even(std::size_t whole, std::size_t most) { return parts_of(whole, parts_of(whole, most)); }

// Whether the product of numbers is at most `most`, and none is 0.
bool fits(std::initializer_list<std::size_t> numbers, std::size_t most) {
  for (const std::size_t number : numbers) {
    if (number == 0 || number > most) return false;
    most /= number;
  }
  return true;
}

// Refuses shapes that would overflow, or reach outside of x.
void check(const ConvolutionShape& shape, const TileView& view) {
  constexpr std::size_t kMost = std::size_t{1} << 40, kMostCopied = std::size_t{1} << 31;
  if (!fits({shape.batch, shape.groups, shape.channels, shape.height, shape.width}, kMost) ||
      !fits({shape.channels, shape.kernel_height, shape.kernel_width}, kMost) ||
      !fits({shape.kernel_width, shape.dilation_width}, kMost) ||
      !fits({shape.batch, view.header.rows, shape.out_height, shape.out_width}, kMost) || shape.padding_top > kMost ||
      shape.padding_left > kMost || view.header.rows % shape.groups != 0 ||
      view.header.columns != shape.channels * shape.kernel_height * shape.kernel_width) {
    throw std::invalid_argument("a convolution whose parts do not fit together");
  }
  // the copies of one channel
  constexpr std::size_t kRow = sizeof(float) * kMostVectors * kVectorFloats;
  if (!fits({shape.kernel_height, shape.dilation_height}, kMostCopied) ||
      !fits({kRow, shape.kernel_width, kMostVectors + shape.kernel_height * shape.dilation_height}, kMostCopied)) {
    throw std::invalid_argument("a convolution of too large a kernel");
  }
}

// The parts of a convolution.
struct Plan {
  std::size_t columns;                  // of a row of weights
  std::size_t tile_vectors, tile_rows;  // the width of a tile and its height
  std::size_t tiles_across, tiles_down;
  std::size_t input_rows;     // of a tile
  std::size_t copy, channel;  // floats of one shifted copy, and of all copies of a channel
  std::size_t block_channels, blocks;
  std::size_t rows_at_once;

  Plan(const ConvolutionShape& shape, std::size_t rows) {
    columns = shape.channels * shape.kernel_height * shape.kernel_width;
    const std::size_t across = parts_of(shape.out_width, kVectorFloats);
    tile_vectors = even(across, kMostVectors);
    tiles_across = parts_of(across, tile_vectors);
    tile_rows = even(shape.out_height, kMostVectors / tile_vectors);
    tiles_down = parts_of(shape.out_height, tile_rows);
    input_rows = tile_rows + (shape.kernel_height - 1) * shape.dilation_height;
    copy = input_rows * tile_vectors * kVectorFloats;
    channel = shape.kernel_width * copy;
    block_channels = even(shape.channels, std::max<std::size_t>(1, kInputBytes / sizeof(float) / channel));
    blocks = parts_of(shape.channels, block_channels);
    rows_at_once = std::clamp<std::size_t>(kStreamBytes / (8 * columns), 1, std::min(rows, kMostRows));
  }

  std::size_t pitch() const { return tile_vectors * kVectorFloats; }
  std::size_t vectors() const { return tile_vectors * tile_rows; }
  std::size_t tiles() const { return tiles_across * tiles_down; }
  std::size_t block_columns(const ConvolutionShape& shape) const {
    return block_channels * shape.kernel_height * shape.kernel_width;
  }
};

// Parts of one piece of memory.
struct Memory {
  SurvivorStream stream;
  std::uint32_t* column_offsets;
  float* inputs;  // for each part
  float* sums;
  std::size_t input_floats, sum_floats;

  Memory(const Plan& plan, std::size_t block_columns, unsigned parts) {
    stream.stride = plan.columns + kStreamSlack;
    input_floats = plan.block_channels * plan.channel;
    sum_floats = plan.rows_at_once * plan.vectors() * kVectorFloats;
    Sections sections;
    const std::size_t survivors = plan.rows_at_once * stream.stride;
    const std::size_t values = sections.next(survivors * sizeof(float));
    const std::size_t offsets = sections.next(survivors * sizeof(std::uint32_t));
    const std::size_t ends = sections.next(plan.rows_at_once * plan.blocks * sizeof(std::uint32_t));
    const std::size_t of_columns = sections.next((block_columns + kStreamSlack) * sizeof(std::uint32_t));
    const std::size_t of_inputs = sections.next(parts * input_floats * sizeof(float));
    const std::size_t of_sums = sections.next(parts * sum_floats * sizeof(float));
    std::uint8_t* const memory = scratch(sections.end());
    stream.values = reinterpret_cast<float*>(memory + values);
    stream.offsets = reinterpret_cast<std::uint32_t*>(memory + offsets);
    stream.ends = reinterpret_cast<std::uint32_t*>(memory + ends);
    column_offsets = reinterpret_cast<std::uint32_t*>(memory + of_columns);
    inputs = reinterpret_cast<float*>(memory + of_inputs);
    sums = reinterpret_cast<float*>(memory + of_sums);
  }
};

// The place of each column of a block in the copies, in bytes.
void fill_offsets(const ConvolutionShape& shape, const Plan& plan, std::uint32_t* offsets) {
  for (std::size_t channel = 0; channel < plan.block_channels; ++channel) {
    for (std::size_t y = 0; y < shape.kernel_height; ++y) {
      for (std::size_t x = 0; x < shape.kernel_width; ++x) {
        const std::size_t at = channel * plan.channel + x * plan.copy + y * shape.dilation_height * plan.pitch();
        *offsets++ = static_cast<std::uint32_t>(at * sizeof(float));
      }
    }
  }
  std::fill_n(offsets, kStreamSlack, 0);
}

// A row of an image, shifted, with zeros outside of the image.
void copy_row(const float* row, std::size_t width, std::ptrdiff_t from, float* out, std::size_t count) {
  const auto end = static_cast<std::ptrdiff_t>(count), last = static_cast<std::ptrdiff_t>(width) - from;
  const std::ptrdiff_t begin = std::clamp<std::ptrdiff_t>(-from, 0, end);
  const std::ptrdiff_t stop = row == nullptr ? begin : std::clamp(last, begin, end);
  std::fill(out, out + begin, 0.0f);
  if (stop > begin)
    std::memcpy(out + begin, row + from + begin, sizeof(float) * static_cast<std::size_t>(stop - begin));
  std::fill(out + stop, out + end, 0.0f);
}

// One image's outputs for some rows of the weights, tile by tile.
struct Work {
  const ConvolutionKernel& kernel;
  const ConvolutionShape& shape;
  const Plan& plan;
  const Memory& memory;
  const float* x;  // of the first image's group
  const float* bias;
  float* y;  // of the first image's rows
  std::size_t rows, image_inputs, image_outputs;

  void run(std::size_t number, unsigned part) const {
    const std::size_t image = number / plan.tiles(), tile = number % plan.tiles();
    const std::size_t top = tile / plan.tiles_across * plan.tile_rows, left = tile % plan.tiles_across * plan.pitch();
    float* const inputs = memory.inputs + part * memory.input_floats;
    float* const sums = memory.sums + part * memory.sum_floats;
    const std::size_t down = std::min(plan.tile_rows, shape.out_height - top);
    // With all channels in one block, and rows of whole vectors, sums are computed in y.
    const bool direct = plan.blocks == 1 && plan.pitch() == shape.out_width;
    float* const out = direct ? y + image * image_outputs + top * shape.out_width : sums;
    const std::size_t apart = direct ? shape.out_height * shape.out_width : plan.vectors() * kVectorFloats;
    for (std::size_t block = 0; block < plan.blocks; ++block) {
      copy_inputs(x + image * image_inputs, block, top, left, inputs);
      for (std::size_t row = 0; row < rows; ++row) {
        const float start = bias == nullptr ? 0.0f : bias[row];
        kernel.add_survivors(survivors(row, block), inputs, plan.tile_vectors * down, block == 0 ? &start : nullptr,
                             out + row * apart);
      }
    }
    if (!direct) store(sums, image, top, left);
  }

  SurvivorSpan survivors(std::size_t row, std::size_t block) const {
    const std::uint32_t* const ends = memory.stream.ends + row * plan.blocks;
    const std::size_t first = block == 0 ? 0 : ends[block - 1], at = row * memory.stream.stride + first;
    return {memory.stream.values + at, memory.stream.offsets + at, ends[block] - first};
  }

  void copy_inputs(const float* image, std::size_t block, std::size_t top, std::size_t left, float* out) const {
    const std::size_t first = block * plan.block_channels;
    const std::size_t last = std::min(shape.channels, first + plan.block_channels);
    for (std::size_t channel = first; channel < last; ++channel) {
      for (std::size_t column = 0; column < shape.kernel_width; ++column) {
        const auto from = static_cast<std::ptrdiff_t>(left + column * shape.dilation_width) -
                          static_cast<std::ptrdiff_t>(shape.padding_left);
        for (std::size_t i = 0; i < plan.input_rows; ++i, out += plan.pitch()) {
          const std::size_t row = top + i - shape.padding_top;  // wraps around above the image
          copy_row(row < shape.height ? image + (channel * shape.height + row) * shape.width : nullptr, shape.width,
                   from, out, plan.pitch());
        }
      }
    }
  }

  void store(const float* sums, std::size_t image, std::size_t top, std::size_t left) const {
    const std::size_t across = std::min(plan.pitch(), shape.out_width - left);
    const std::size_t down = std::min(plan.tile_rows, shape.out_height - top);
    float* const out = y + image * image_outputs;
    for (std::size_t row = 0; row < rows; ++row) {
      const float* const tile = sums + row * plan.vectors() * kVectorFloats;
      for (std::size_t i = 0; i < down; ++i) {
        float* const line = out + (row * shape.out_height + top + i) * shape.out_width + left;
        std::memcpy(line, tile + i * plan.pitch(), across * sizeof(float));
      }
    }
  }
};

}  // namespace

bool has_sparse_convolution() { return kConvolution.find() != nullptr; }

bool convolve_sparse(std::span<const std::uint8_t> packed, const ConvolutionShape& shape, const float* x,
                     const float* bias, float* y, unsigned threads) {
  const TileView view = tile_view(packed);
  check(shape, view);
  const std::size_t rows = view.header.rows / shape.groups;
  const std::size_t outputs = shape.out_height * shape.out_width, inputs = shape.channels * shape.height * shape.width;
  const ConvolutionKernel* const kernel = kConvolution.find();
  if (!kernel) throw std::invalid_argument("sparse convolutions need AVX-512");
  if (!kernel->all_finite(x, shape.batch * shape.groups * inputs)) return false;
  const Plan plan(shape, rows);
  const std::size_t tiles = shape.batch * plan.tiles();
  const auto parts = static_cast<unsigned>(std::min<std::size_t>(threads, tiles));
  const Memory memory(plan, plan.block_columns(shape), std::max(1u, parts));
  fill_offsets(shape, plan, memory.column_offsets);
  const StreamTask task{&view, plan.blocks, plan.block_columns(shape), memory.column_offsets, memory.stream};
  for (std::size_t first = 0; first < view.header.rows;) {
    const std::size_t group = first / rows, count = std::min(plan.rows_at_once, (group + 1) * rows - first);
    auto make_stream = [&](std::size_t i, unsigned) { kernel->make_stream(task, first + i, i); };
    const Work work{*kernel,
                    shape,
                    plan,
                    memory,
                    x + group * inputs,
                    bias == nullptr ? nullptr : bias + first,
                    y + first * outputs,
                    count,
                    shape.groups * inputs,
                    view.header.rows * outputs};
    auto run = [&](std::size_t i, unsigned thread) { work.run(i, thread); };
    run_phases(parts, std::array{phase_of(count, make_stream), phase_of(tiles, run)}, Items::equal);
    first += count;
  }
  return true;
}

}  // namespace dcz
