// How the AVX-512 kernels of floats put planes of bytes together, and look centroids up.
#pragma once

#include "packed/window/avx512.hpp"

namespace dcz::avx512 {

constexpr unsigned kFloatPlanes = 4;

// Four planes of bytes, slots of 4 rows in each 16 bytes -> the float32 of each slot.
inline void join_planes(const V (&bytes)[kFloatPlanes], __m512 (&slots)[4]) {
  const V low01 = _mm512_unpacklo_epi8(bytes[0], bytes[1]), high01 = _mm512_unpackhi_epi8(bytes[0], bytes[1]);
  const V low23 = _mm512_unpacklo_epi8(bytes[2], bytes[3]), high23 = _mm512_unpackhi_epi8(bytes[2], bytes[3]);
  slots[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low01, low23));
  slots[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low01, low23));
  slots[2] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(high01, high23));
  slots[3] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(high01, high23));
}

// The codebook as kernels look it up, by the codes of four slots in a register.
template <unsigned kCodeBits>
class Weights;

template <>
class Weights<4> {
 public:
  explicit Weights(const float* codebook) : table_(_mm512_loadu_ps(codebook)) {}
  void look_up(V codes, __m512 (&slots)[4]) const {
    slots[0] = _mm512_permutexvar_ps(codes, table_);
    slots[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(codes, 8), table_);
    slots[2] = _mm512_permutexvar_ps(_mm512_srli_epi32(codes, 16), table_);
    slots[3] = _mm512_permutexvar_ps(_mm512_srli_epi32(codes, 24), table_);
  }

 private:
  __m512 table_;
};

template <>
class Weights<5> {
 public:
  explicit Weights(const float* codebook) : low_(_mm512_loadu_ps(codebook)), high_(_mm512_loadu_ps(codebook + 16)) {}
  void look_up(V codes, __m512 (&slots)[4]) const {
    slots[0] = _mm512_permutex2var_ps(low_, codes, high_);
    slots[1] = _mm512_permutex2var_ps(low_, _mm512_srli_epi32(codes, 8), high_);
    slots[2] = _mm512_permutex2var_ps(low_, _mm512_srli_epi32(codes, 16), high_);
    slots[3] = _mm512_permutex2var_ps(low_, _mm512_srli_epi32(codes, 24), high_);
  }

 private:
  __m512 low_, high_;
};

template <>
class Weights<8> {
 public:
  explicit Weights(const float* codebook) {
    for (unsigned i = 0; i < 4; ++i) {
      V numbers[4], planes[4];
      for (unsigned j = 0; j < 4; ++j) numbers[j] = load(codebook + 64 * i + 16 * j);
      split_planes(numbers, planes);
      for (unsigned plane = 0; plane < kFloatPlanes; ++plane) store(tables_[plane] + 64 * i, planes[plane]);
    }
  }
  void look_up(V codes, __m512 (&slots)[4]) const {
    const V by_slot = transpose(codes);
    V bytes[kFloatPlanes];
#pragma GCC unroll 4
    for (unsigned plane = 0; plane < kFloatPlanes; ++plane) bytes[plane] = look_up_256(tables_[plane], by_slot);
    join_planes(bytes, slots);
  }

 private:
  alignas(64) std::uint8_t tables_[kFloatPlanes][256];
};

}  // namespace dcz::avx512
