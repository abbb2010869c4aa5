// The centroids of 64 codes at a time, for the kernels that read the form `tile`. Only files that are compiled for
// AVX-512 with VBMI and VBMI2 may include this.
//
// The codebook lies in registers as four planes of bytes. Each byte of the centroids is looked up for all 64 codes.
// Unpacking joins neighbours within 16 bytes. So the codes are shuffled first, and floats come out in order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packed/avx512.hpp"

namespace dcz {
namespace {

using avx512::V;

struct Planes {
  V bytes[4][4];  // [b][q]: byte b of centroids 64q .. 64q+63
};

// `centroids` is 16, 32 or 256.
inline Planes planes_of(const float* codebook, std::size_t centroids) {
  Planes planes;
  for (unsigned b = 0; b < 4; ++b) {
    alignas(64) std::uint8_t bytes[256] = {};
    for (std::size_t i = 0; i < centroids; i += 16) {
      const V shifted = _mm512_srl_epi32(_mm512_loadu_si512(codebook + i), _mm_cvtsi32_si128(static_cast<int>(8 * b)));
      _mm_store_si128(reinterpret_cast<__m128i*>(bytes + i), _mm512_cvtepi32_epi8(shifted));
    }
    for (unsigned q = 0; q < 4; ++q) planes.bytes[b][q] = _mm512_load_si512(bytes + 64 * q);
  }
  return planes;
}

// 64 codes from number `code` on, in the order of survivors.
template <bool kNibbles>
inline V load_codes(const std::uint8_t* codes, std::size_t code) {
  if constexpr (!kNibbles) return _mm512_loadu_si512(codes + code);
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + code / 2));
  const V pairs = _mm512_cvtepu8_epi16(bytes), low = _mm512_set1_epi8(15);
  const V spread = _mm512_and_si512(_mm512_or_si512(pairs, _mm512_slli_epi16(pairs, 4)), low);
  if (code % 2 == 0) return spread;
  // one nibble further: the first of the 33rd byte comes last
  alignas(64) static constexpr std::uint8_t kNext[64] = {
      1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
      23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44,
      45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64};
  const V last = _mm512_set1_epi8(static_cast<char>(codes[code / 2 + 32] & 15));
  return _mm512_permutex2var_epi8(spread, _mm512_load_si512(kNext), last);
}

// Four registers of 16 floats, of the columns whose bit is set; zeros elsewhere.
inline void look_up(const Planes& planes, V codes, std::uint64_t survive, __m512 (&floats)[4]) {
  const V by_quarters = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const V shuffled = _mm512_permutexvar_epi32(by_quarters, codes);
  const __mmask64 kept = _mm512_movepi8_mask(_mm512_permutexvar_epi32(by_quarters, _mm512_movm_epi8(survive)));
  const __mmask64 upper = _mm512_movepi8_mask(shuffled);
  V found[4];
  for (unsigned b = 0; b < 4; ++b) {
    const V(&plane)[4] = planes.bytes[b];
    const V low = _mm512_maskz_permutex2var_epi8(kept, plane[0], shuffled, plane[1]);
    found[b] = _mm512_mask_mov_epi8(low, upper & kept, _mm512_permutex2var_epi8(plane[2], shuffled, plane[3]));
  }
  avx512::join_planes(found, floats);
}

}  // namespace
}  // namespace dcz
