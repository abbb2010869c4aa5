// How the AVX-512 kernels of the form `window` bring results into y. Neighbours in a group are apart in y.
#pragma once

#include "packed/window/avx512.hpp"

namespace dcz::avx512 {

// The rows that there are among 16 of the groups' lanes: those from 16 times this number on.
inline __mmask16 rows_of(const WindowTask& task, std::size_t sixteen) {
  const V order = load(task.view->order + sixteen * kStepRows);
  return _mm512_cmplt_epu32_mask(order, _mm512_set1_epi32(static_cast<int>(task.view->header.rows)));
}

// What is added to their sums.
inline __m512 bias_of(const WindowTask& task, std::size_t sixteen) {
  if (!task.bias) return _mm512_setzero_ps();
  const V rows = load(task.view->order + sixteen * kStepRows);
  return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), rows_of(task, sixteen), rows, task.bias, 4);
}

// Their results -> their rows of y, one by one: a scatter takes longer.
inline void put_rows(const WindowTask& task, std::size_t sixteen, __m512 sums, float* y) {
  alignas(64) float results[kStepRows];
  _mm512_store_ps(results, sums);
  const std::uint32_t* const rows = task.view->order + sixteen * kStepRows;
  const __mmask16 there = rows_of(task, sixteen);
  if (there == 0xffff) {
#pragma GCC unroll 16
    for (std::size_t lane = 0; lane < kStepRows; ++lane) y[rows[lane]] = results[lane];
  } else {
    for (std::size_t lane = 0; lane < kStepRows; ++lane) {
      if (there >> lane & 1) y[rows[lane]] = results[lane];
    }
  }
}

// 16 x 16.
inline void transpose(__m512 (&m)[16]) {
  __m512 t[16];
#pragma GCC unroll 8
  for (unsigned i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(m[2 * i], m[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(m[2 * i], m[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (unsigned i = 0; i < 4; ++i) {
    for (unsigned j = 0; j < 2; ++j) {
      const __m512d a = _mm512_castps_pd(t[4 * i + j]), b = _mm512_castps_pd(t[4 * i + 2 + j]);
      m[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      m[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  }
#pragma GCC unroll 4
  for (unsigned j = 0; j < 4; ++j) {
    t[j] = _mm512_shuffle_f32x4(m[j], m[4 + j], 0x88);
    t[4 + j] = _mm512_shuffle_f32x4(m[j], m[4 + j], 0xdd);
    t[8 + j] = _mm512_shuffle_f32x4(m[8 + j], m[12 + j], 0x88);
    t[12 + j] = _mm512_shuffle_f32x4(m[8 + j], m[12 + j], 0xdd);
  }
#pragma GCC unroll 4
  for (unsigned j = 0; j < 4; ++j) {
    m[j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0x88);
    m[8 + j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0xdd);
    m[4 + j] = _mm512_shuffle_f32x4(t[4 + j], t[12 + j], 0x88);
    m[12 + j] = _mm512_shuffle_f32x4(t[4 + j], t[12 + j], 0xdd);
  }
}

// The results of several vectors stand side by side for each row until all rows are there: were they put into y at
// once, each element would miss the cache.
inline void put_side_by_side(const WindowTask& task, std::size_t group, __m512 (&results)[16], std::size_t vectors,
                             float* by_row) {
  transpose(results);
  const auto some = static_cast<__mmask16>((1u << vectors) - 1);
  const __mmask16 there = rows_of(task, group);
#pragma GCC unroll 16
  for (std::size_t lane = 0; lane < kStepRows; ++lane) {
    if (there >> lane & 1) {
      _mm512_mask_storeu_ps(by_row + task.view->order[group * kStepRows + lane] * vectors, some, results[lane]);
    }
  }
}

// From there to y, the rows first to last - 1.
inline void put_apart(const float* by_row, std::size_t vectors, std::size_t first, std::size_t last, float* y,
                      std::size_t rows) {
  const auto some = static_cast<__mmask16>((1u << vectors) - 1);
  for (std::size_t row = first; row < last; row += 16) {
    const std::size_t count = last - row < 16 ? last - row : 16;
    __m512 results[16];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < 16; ++i) {
      results[i] = i < count ? _mm512_maskz_loadu_ps(some, by_row + (row + i) * vectors) : _mm512_setzero_ps();
    }
    transpose(results);
    const auto these = static_cast<__mmask16>((1u << count) - 1);
#pragma GCC unroll 16
    for (std::size_t v = 0; v < 16; ++v) {
      if (v < vectors) _mm512_mask_storeu_ps(y + v * rows + row, these, results[v]);
    }
  }
}

}  // namespace dcz::avx512
