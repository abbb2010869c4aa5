// How the AVX-512 kernels of integers look digits up.
#pragma once

#include "packed/window/avx512.hpp"

namespace dcz::avx512 {

// A plane of digits, looked up by codes.
template <unsigned kCodeBits>
class Digits {
 public:
  Digits() = default;
  explicit Digits(const std::int8_t* digits) { set(digits); }
  void set(const std::int8_t* digits) {
    // once for each value of what stands above a code
    for (unsigned i = 0; i < sizeof table_; ++i) table_[i] = digits[i % (1u << kCodeBits)];
  }
  V look_up(V codes) const {
    if constexpr (kCodeBits == 8) return look_up_256(reinterpret_cast<const std::uint8_t*>(table_), codes);
    return _mm512_permutexvar_epi8(codes, load(table_));
  }

 private:
  alignas(64) std::int8_t table_[kCodeBits == 8 ? 256 : 64];
};

}  // namespace dcz::avx512
