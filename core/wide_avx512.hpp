// What the AVX-512 kernels of the form `wide` share. Only their files, all compiled for the same instructions, may
// include this.
#pragma once

#include <cstring>

#include "wide_kernel.hpp"
#include "window_avx512.hpp"
#include "window_avx512_results.hpp"

namespace dcz::avx512 {

// Where the windows of four pairs begin, in blocks, 16 bits each: one load instead of four, which would cost more than
// all else in a pair. What lies behind the last start still lies within the packed bytes, before the stream's end.
inline std::uint64_t four_starts(const WideView& view, std::size_t pair) {
  const __m128i starts = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(view.starts + pair));
  const __m128i last = _mm_set1_epi16(static_cast<short>(view.last_start()));
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_min_epu16(starts, last)));
}

// The places and codes of a pair, as with `window`. `fifths`: of this pair.
template <unsigned kCodeBits>
inline Steps read_wide(const std::uint8_t* pair, const std::uint8_t* fifths) {
  if constexpr (kCodeBits != 5) {
    return read_steps<kCodeBits, false>(pair);
  } else {
    Steps s = read_steps<4, false>(pair);
    for (unsigned half = 0; half < 2; ++half) {
      std::uint64_t fifth;
      std::memcpy(&fifth, fifths + 8 * half, sizeof fifth);
      const V low = _mm512_and_si512(s.codes[half], _mm512_set1_epi8(15));
      s.codes[half] = _mm512_mask_add_epi8(low, fifth, low, _mm512_set1_epi8(16));
    }
    return s;
  }
}

// 64 bytes of a plane of four blocks, so far apart.
inline V look_up_wide(const std::uint8_t* window, std::size_t block_bytes, V places) {
  const V low = _mm512_permutex2var_epi8(load(window), places, load(window + block_bytes));
  const V high = _mm512_permutex2var_epi8(load(window + 2 * block_bytes), places, load(window + 3 * block_bytes));
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(places), low, high);
}

constexpr std::size_t pair_bytes(unsigned code_bits) { return code_bits == 8 ? 256 : 192; }

// add(bytes of a pair, its window, its fifths) for pairs from `pair` on while they are before `last` and, about, begin
// before the block `limit`; returns the next.
template <unsigned kCodeBits, typename Add>
[[gnu::always_inline]] inline std::size_t visit_pairs(const WideView& view, const std::uint8_t* x, std::size_t block_bytes, std::size_t pair,
                               std::size_t last, std::size_t limit, const Add& add) {
  const auto visit = [&](std::size_t number, std::uint64_t start) __attribute__((always_inline)) {
    const std::uint8_t* const bytes = view.stream + number * pair_bytes(kCodeBits);
    prefetch_pair(bytes, pair_bytes(kCodeBits));
    add(bytes, x + (start & 0xffff) * block_bytes, view.fifths + 16 * number);
  };
  for (; pair + 4 <= last; pair += 4) {
    const std::uint64_t starts = four_starts(view, pair);
    if ((starts & 0xffff) >= limit) return pair;
    visit(pair, starts);
    visit(pair + 1, starts >> 16);
    visit(pair + 2, starts >> 32);
    visit(pair + 3, starts >> 48);
  }
  if (pair == last) return last;
  std::uint64_t starts = four_starts(view, pair);
  if ((starts & 0xffff) >= limit) return pair;
  for (; pair < last; ++pair, starts >>= 16) visit(pair, starts);
  return last;
}

// sums + bias -> the group's rows of y.
inline void put_group(const WideTask& task, std::size_t group, __m512 sums) {
  const V rows = load(task.view->order + group * kGroupRows);
  const __mmask16 there = rows_of(task, group);
  if (task.bias) {
    sums = _mm512_add_ps(sums, _mm512_mask_i32gather_ps(_mm512_setzero_ps(), there, rows, task.bias, 4));
  }
  _mm512_mask_i32scatter_ps(task.y, there, rows, sums, 4);
}

// In wide_avx512_integers.cpp and wide_avx512_floats.cpp.
void run_wide_integers(const WideTask& task, std::size_t first, std::size_t last);
void run_wide_floats(const WideTask& task, std::size_t first, std::size_t last);

}  // namespace dcz::avx512
