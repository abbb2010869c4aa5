// Squares of 16 x 16 numbers in AVX-512 registers.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace dcz::avx512 {

inline constexpr std::size_t kSquare = 16;

inline __mmask16 first_lanes(std::size_t count) {
  return count >= kSquare ? __mmask16{0xffff} : static_cast<__mmask16>((1u << count) - 1);
}

// Rows become columns.
inline void transpose(__m512i (&r)[kSquare]) {
  __m512i t[kSquare];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    for (int half = 0; half < 2; ++half) {
      const __m512i a = t[4 * i + half], b = t[4 * i + 2 + half];
      r[4 * i + 2 * half] = _mm512_unpacklo_epi64(a, b);
      r[4 * i + 2 * half + 1] = _mm512_unpackhi_epi64(a, b);
    }
  }
  for (int i = 0; i < 4; ++i) {
    for (int half = 0; half < 2; ++half) {
      const __m512i a = r[8 * half + i], b = r[8 * half + 4 + i];
      t[8 * half + i] = _mm512_shuffle_i32x4(a, b, 0x88);
      t[8 * half + 4 + i] = _mm512_shuffle_i32x4(a, b, 0xdd);
    }
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
  }
}

inline void transpose(__m512 (&square)[kSquare]) {
  __m512i r[kSquare];
  for (std::size_t i = 0; i < kSquare; ++i) r[i] = _mm512_castps_si512(square[i]);
  transpose(r);
  for (std::size_t i = 0; i < kSquare; ++i) square[i] = _mm512_castsi512_ps(r[i]);
}

}  // namespace dcz::avx512
