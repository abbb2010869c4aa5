// Registers of AVX-512: squares of numbers, and floats from planes of bytes. Only files that are compiled for AVX-512
// with BW and VL may include this.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace dcz::avx512 {

using V = __m512i;

inline V load(const void* from) { return _mm512_loadu_si512(from); }
inline void store(void* to, V value) { _mm512_storeu_si512(to, value); }

inline constexpr std::size_t kSquare = 16;

inline __mmask16 first_lanes(std::size_t count) {
  return count >= kSquare ? __mmask16{0xffff} : static_cast<__mmask16>((1u << count) - 1);
}

// Rows become columns.
inline void transpose(V (&r)[kSquare]) {
  V t[kSquare];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const int first = i / 2 * 4, half = i % 2;
    r[first + 2 * half] = _mm512_unpacklo_epi64(t[first + half], t[first + 2 + half]);
    r[first + 2 * half + 1] = _mm512_unpackhi_epi64(t[first + half], t[first + 2 + half]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const int first = i / 4 * 8 + i % 4;
    t[first] = _mm512_shuffle_i32x4(r[first], r[first + 4], 0x88);
    t[first + 4] = _mm512_shuffle_i32x4(r[first], r[first + 4], 0xdd);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
  }
}

inline void transpose(__m512 (&square)[kSquare]) {
  V r[kSquare];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kSquare; ++i) r[i] = _mm512_castps_si512(square[i]);
  transpose(r);
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kSquare; ++i) square[i] = _mm512_castsi512_ps(r[i]);
}

// Four planes of bytes -> floats: register i has numbers 4 * i to 4 * i + 3 of each 16 bytes.
inline void join_planes(const V (&bytes)[4], __m512 (&floats)[4]) {
  const V low01 = _mm512_unpacklo_epi8(bytes[0], bytes[1]), high01 = _mm512_unpackhi_epi8(bytes[0], bytes[1]);
  const V low23 = _mm512_unpacklo_epi8(bytes[2], bytes[3]), high23 = _mm512_unpackhi_epi8(bytes[2], bytes[3]);
  floats[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low01, low23));
  floats[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low01, low23));
  floats[2] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(high01, high23));
  floats[3] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(high01, high23));
}

}  // namespace dcz::avx512
