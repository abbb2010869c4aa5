// What the AVX-512 kernels of the form `wide` share. Only their files, all compiled for the same instructions, may
// include this.
#pragma once

#include <cstring>

#include "packed/wide/kernel.hpp"
#include "packed/window/avx512.hpp"
#include "packed/window/avx512_results.hpp"

namespace dcz::avx512 {

// The places and codes of a pair, as with `window`. `fifths`: of this pair.
template <unsigned kCodeBits, bool kApart = false>
inline Steps read_wide(const std::uint8_t* pair, const std::uint8_t* fifths) {
  Steps s = read_steps<kCodeBits == 5 ? 4 : kCodeBits, false, kApart>(pair);
  if constexpr (kCodeBits == 5) {
    for (unsigned half = 0; half < 2; ++half) {
      std::uint64_t fifth;
      std::memcpy(&fifth, fifths + 8 * half, sizeof fifth);
      const V low = _mm512_and_si512(s.codes[half], _mm512_set1_epi8(15));
      s.codes[half] = _mm512_mask_add_epi8(low, fifth, low, _mm512_set1_epi8(16));
    }
  }
  return s;
}

// A plane of a window: its blocks, so many bytes apart.
template <bool kTwoWindows, bool kApart = false>
struct Window {
  static constexpr unsigned kBlocks = kTwoWindows ? 2 : 4;
  V blocks[kBlocks];

  Window(const std::uint8_t* plane, std::size_t block_bytes) {
#pragma GCC unroll 4
    for (unsigned i = 0; i < kBlocks; ++i) blocks[i] = load<kApart>(plane + i * block_bytes);
  }
  V look_up(V places) const {
    const V low = _mm512_permutex2var_epi8(blocks[0], places, blocks[1]);
    if constexpr (kTwoWindows) {
      return low;
    } else {
      const V high = _mm512_permutex2var_epi8(blocks[2], places, blocks[3]);
      return _mm512_mask_blend_epi8(_mm512_movepi8_mask(places), low, high);
    }
  }
};

// The pairs of a view and x in planes of bytes, by what kernels read in their innermost loop.
struct Pairs {
  const std::uint16_t* starts;
  const std::uint8_t *stream, *fifths, *x;
  std::size_t last_start;

  explicit Pairs(const WideTask& task)
      : starts(task.view->starts),
        stream(task.view->stream),
        fifths(task.view->fifths),
        x(task.prepared),
        last_start(task.view->last_start()) {}
};

// add(bytes of a pair, the windows of its steps, its fifths, a number that neighbours differ in) for pairs from `pair`
// on while they are before `last` and, about, begin before the block `limit`; returns the next.
//
// Where four windows begin is one load: four would cost more than all else in a pair. What it reads behind the last
// start still lies within the packed bytes, since the stream follows.
template <unsigned kCodeBits, bool kTwoWindows, std::size_t kBlockBytes, typename Add>
[[gnu::always_inline]] inline std::size_t visit_pairs(Pairs pairs, std::size_t pair, std::size_t last,
                                                      std::size_t limit, const Add& add) {
  constexpr std::size_t kPairBytes = kCodeBits == 8 ? 256 : 192, kAtOnce = kTwoWindows ? 2 : 4;
  constexpr unsigned kStartBits = 64 / kAtOnce, kSecond = kTwoWindows ? 16 : 0;
  const __m128i last_start = _mm_set1_epi16(static_cast<short>(pairs.last_start));
  const std::uint8_t* bytes = pairs.stream + pair * kPairBytes;
  const std::uint8_t* fifths = pairs.fifths + pair * 16;
  const auto four_starts = [&]() __attribute__((always_inline)) {
    const __m128i starts = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pairs.starts + pair * 4 / kAtOnce));
    return static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_min_epu16(starts, last_start)));
  };
  const auto visit = [&](std::size_t i, std::uint64_t starts) __attribute__((always_inline)) {
    prefetch_pair(bytes + i * kPairBytes, kPairBytes);
    add(bytes + i * kPairBytes, pairs.x + (starts & 0xffff) * kBlockBytes,
        pairs.x + (starts >> kSecond & 0xffff) * kBlockBytes, fifths + i * 16, i);
  };
  for (; pair + kAtOnce <= last; pair += kAtOnce, bytes += kAtOnce * kPairBytes, fifths += kAtOnce * 16) {
    const std::uint64_t starts = four_starts();
    if ((starts & 0xffff) >= limit) return pair;
    visit(0, starts);
    visit(1, starts >> kStartBits);
    if constexpr (kAtOnce == 4) {
      visit(2, starts >> 32);
      visit(3, starts >> 48);
    }
  }
  if (pair == last) return last;
  std::uint64_t starts = four_starts();
  if ((starts & 0xffff) >= limit) return pair;
  for (; pair < last; ++pair, starts >>= kStartBits, bytes += kPairBytes, fifths += 16) visit(0, starts);
  return last;
}

// The sums of 16 rows in order, the ones with this number, + bias -> their rows of y, one by one: a scatter takes
// longer.
inline void put_sixteen(const WideTask& task, std::size_t sixteen, __m512 sums) {
  if (task.bias) {
    const V rows = load(task.view->order + sixteen * kStepRows);
    sums =
        _mm512_add_ps(sums, _mm512_mask_i32gather_ps(_mm512_setzero_ps(), rows_of(task, sixteen), rows, task.bias, 4));
  }
  alignas(64) float results[kStepRows];
  _mm512_store_ps(results, sums);
  put_rows(task, sixteen, results, task.y);
}

// In avx512_integers.cpp and avx512_floats.cpp.
void run_wide_integers(const WideTask& task, std::size_t first, std::size_t last);
void run_wide_floats(const WideTask& task, std::size_t first, std::size_t last);

}  // namespace dcz::avx512
