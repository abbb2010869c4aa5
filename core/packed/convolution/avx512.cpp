// Sparse convolutions in AVX-512 registers. Needs F, BW, VL, DQ, VBMI and VBMI2.
#include "packed/tile/avx512.hpp"

#include <array>
#include <utility>

#include "packed/convolution/kernel.hpp"

namespace dcz {
namespace {

constexpr std::size_t kStepColumns = 48;  // a word holds all their bits, wherever in a byte they begin

// The values of `count` survivors from code number `code` on.
template <bool kNibbles>
void look_up_values(const TileView& view, const Planes& planes, std::size_t code, std::size_t count, float* values) {
  const std::size_t survivors = view.header.survivors;
  for (std::size_t done = 0; done < count; done += 64) {
    const std::size_t at = code + done < survivors ? code + done : survivors;
    __m512 floats[4];
    look_up(planes, load_codes<kNibbles>(view.codes, at), ~std::uint64_t{0}, floats);
    for (unsigned i = 0; i < 4; ++i) _mm512_storeu_ps(values + done + 16 * i, floats[i]);
  }
}

// Appends the offsets of a block's survivors, whose bits begin at `first`. Returns their number.
inline std::size_t compress_offsets(const std::uint8_t* bits, std::size_t first, std::size_t columns,
                                    const std::uint32_t* column_offsets, std::uint32_t* offsets) {
  std::size_t count = 0;
  for (std::size_t column = 0; column < columns; column += kStepColumns) {
    std::uint64_t word;
    __builtin_memcpy(&word, bits + (first + column) / 8, 8);
    word >>= (first + column) % 8;
    const std::size_t left = columns - column;
    word = _bzhi_u64(word, static_cast<unsigned>(left < kStepColumns ? left : kStepColumns));
    for (unsigned i = 0; i < kStepColumns; i += 16) {
      const auto survive = static_cast<__mmask16>(word >> i);
      const V kept = _mm512_maskz_compress_epi32(survive, _mm512_loadu_si512(column_offsets + column + i));
      _mm512_storeu_si512(offsets + count, kept);
      count += static_cast<std::size_t>(_mm_popcnt_u32(survive));
    }
  }
  return count;
}

template <unsigned kVectors>
void add_survivors(const SurvivorSpan& from, const float* inputs, const float* start, float* sums) {
  __m512 sum[kVectors];
  const __m512 first = start == nullptr ? _mm512_setzero_ps() : _mm512_set1_ps(*start);
#pragma GCC unroll 28
  for (unsigned i = 0; i < kVectors; ++i) sum[i] = first;
  const char* const base = reinterpret_cast<const char*>(inputs);
  for (std::size_t k = 0; k < from.count; ++k) {
    const __m512 value = _mm512_set1_ps(from.values[k]);
    const float* const input = reinterpret_cast<const float*>(base + from.offsets[k]);
#pragma GCC unroll 28
    for (unsigned i = 0; i < kVectors; ++i) sum[i] = _mm512_fmadd_ps(value, _mm512_load_ps(input + 16 * i), sum[i]);
  }
  if (start == nullptr) {
#pragma GCC unroll 28
    for (unsigned i = 0; i < kVectors; ++i) sum[i] = _mm512_add_ps(_mm512_loadu_ps(sums + 16 * i), sum[i]);
  }
#pragma GCC unroll 28
  for (unsigned i = 0; i < kVectors; ++i) _mm512_storeu_ps(sums + 16 * i, sum[i]);
}

// By the number of vectors - 1.
constexpr auto kAdd = []<std::size_t... kBefore>(std::index_sequence<kBefore...>) {
  return std::array{add_survivors<kBefore + 1>...};
}(std::make_index_sequence<kMostVectors>{});

void make_stream(const StreamTask& task, std::size_t row, std::size_t number) {
  const TileView& view = *task.view;
  const std::size_t columns = view.header.columns;
  std::uint32_t* const offsets = task.stream.offsets + number * task.stream.stride;
  std::size_t count = 0;
  for (std::size_t block = 0; block < task.blocks; ++block) {
    const std::size_t first = block * task.block_columns, left = columns - first;
    count +=
        compress_offsets(view.bitmap + row * view.row_bytes, first,
                         left < task.block_columns ? left : task.block_columns, task.column_offsets, offsets + count);
    task.stream.ends[number * task.blocks + block] = static_cast<std::uint32_t>(count);
  }
  const Planes planes = planes_of(view.codebook, std::size_t{1} << view.header.code_bits);
  float* const values = task.stream.values + number * task.stream.stride;
  if (view.header.code_bits == 4) {
    look_up_values<true>(view, planes, view.starts[row], count, values);
  } else {
    look_up_values<false>(view, planes, view.starts[row], count, values);
  }
}

bool all_finite(const float* x, std::size_t count) {
  constexpr int kNanOrInfinite = 0x99;
  __mmask16 found = 0;
  std::size_t i = 0;
  for (; i + 16 <= count; i += 16) found |= _mm512_fpclass_ps_mask(_mm512_loadu_ps(x + i), kNanOrInfinite);
  const auto rest = static_cast<__mmask16>((1u << (count - i)) - 1);
  found |= _mm512_fpclass_ps_mask(_mm512_maskz_loadu_ps(rest, x + i), kNanOrInfinite);
  return found == 0;
}

void add_some_survivors(const SurvivorSpan& from, const float* inputs, std::size_t vectors, const float* start,
                        float* sums) {
  kAdd[vectors - 1](from, inputs, start, sums);
}

}  // namespace

constinit const ConvolutionKernel kConvolutionAvx512{all_finite, make_stream, add_some_survivors};

}  // namespace dcz
