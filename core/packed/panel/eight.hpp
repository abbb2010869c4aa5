// Registers of 8 vectors for the form `panel`. Only files that are compiled for AVX2 and FMA may include this.
#pragma once

#include <immintrin.h>

#include "packed/panel/registers.hpp"

namespace dcz {
namespace {

struct Eight {
  static constexpr std::size_t kLanes = 8;
  using Floats = __m256;

  static __m256i first_lanes(std::size_t count) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(at_most(count, kLanes))), lanes);
  }
  static Floats load(const float* from) { return _mm256_load_ps(from); }
  static Floats load(const float* from, __m256i lanes) { return _mm256_maskload_ps(from, lanes); }
  static void store(float* to, Floats value) { _mm256_store_ps(to, value); }
  static void store(float* to, __m256i lanes, Floats value) { _mm256_maskstore_ps(to, lanes, value); }
  static Floats add_product(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }
  static unsigned not_numbers(Floats values) {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(values, values, _CMP_UNORD_Q)));
  }

  // Rows become columns.
  static void transpose(Floats (&r)[kLanes]) {
    Floats t[kLanes];
    for (int i = 0; i < 4; ++i) {
      t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
      t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      for (int half = 0; half < 2; ++half) {
        const __m256d a = _mm256_castps_pd(t[4 * i + half]), b = _mm256_castps_pd(t[4 * i + 2 + half]);
        r[4 * i + 2 * half] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
        r[4 * i + 2 * half + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
      }
    }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x20);
      t[4 + i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x31);
    }
    for (std::size_t i = 0; i < kLanes; ++i) r[i] = t[i];
  }
};

}  // namespace
}  // namespace dcz
