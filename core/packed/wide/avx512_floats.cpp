// The form `wide` with AVX-512 in float32, for what fixed point does not hold: x as the four byte planes of its
// elements, as in window/avx512_floats.cpp.
#include "packed/wide/avx512.hpp"
#include "packed/window/avx512_weights.hpp"

namespace dcz::avx512 {
namespace {

constexpr std::size_t kBlockBytes = kFloatPlanes * kBlockElements;

// Sums of so many pairs go into totals: long float32 sums would lose digits.
constexpr std::size_t kPairsPerSum = 64;

// The sums of a group, by 16 rows: with one window of a pair each step has its own.
template <unsigned kCodeBits, bool kTwoWindows>
void put_group(const WideTask& task, std::size_t group, const Weights<kCodeBits>& weights) {
  constexpr unsigned kHalves = kTwoWindows ? 1 : 2;
  const WideView& view = *task.view;
  const Pairs pairs(task);
  __m512 totals[kHalves];
  for (__m512& total : totals) total = _mm512_setzero_ps();
  const std::size_t last = view.last_pair(group);
  for (std::size_t pair = view.first_pair(group); pair < last;) {
    const std::size_t end = last - pair < kPairsPerSum ? last : pair + kPairsPerSum;
    __m512 sums[kHalves][4];
    for (auto& half : sums) {
      for (__m512& sum : half) sum = _mm512_setzero_ps();
    }
    const auto add = [&](const std::uint8_t* bytes, const std::uint8_t* window0, const std::uint8_t* window1,
                         const std::uint8_t* fifths, std::size_t) {
      const Steps steps = read_wide<kCodeBits>(bytes, fifths);
#pragma GCC unroll 2
      for (unsigned step = 0; step < 2; ++step) {
        const std::uint8_t* const window = step == 0 ? window0 : window1;
        const V places = transpose(steps.places[step]);
        V planes[kFloatPlanes];
#pragma GCC unroll 4
        for (unsigned i = 0; i < kFloatPlanes; ++i) {
          planes[i] = Window<kTwoWindows>(window + i * kBlockElements, kBlockBytes).look_up(places);
        }
        __m512 slot_weights[4], columns[4];
        join_planes(planes, columns);
        weights.look_up(steps.codes[step], slot_weights);
        __m512(&own)[4] = sums[step % kHalves];
        for (unsigned i = 0; i < 4; ++i) own[i] = _mm512_fmadd_ps(slot_weights[i], columns[i], own[i]);
      }
    };
    pair = visit_pairs<kCodeBits, kTwoWindows, kBlockBytes>(pairs, pair, end, view.blocks, add);
    for (unsigned half = 0; half < kHalves; ++half) {
      const __m512(&own)[4] = sums[half];
      const __m512 sum = _mm512_add_ps(_mm512_add_ps(own[0], own[1]), _mm512_add_ps(own[2], own[3]));
      totals[half] = _mm512_add_ps(totals[half], sum);
    }
  }
  for (unsigned half = 0; half < kHalves; ++half) put_sixteen(task, group * kHalves + half, totals[half]);
}

template <unsigned kCodeBits>
void run_groups(const WideTask& task, std::size_t first, std::size_t last) {
  const Weights<kCodeBits> weights(task.view->codebook);
  for (std::size_t group = first; group < last; ++group) {
    task.view->two_windows() ? put_group<kCodeBits, true>(task, group, weights)
                             : put_group<kCodeBits, false>(task, group, weights);
  }
}

}  // namespace

void run_wide_floats(const WideTask& task, std::size_t first, std::size_t last) {
  switch (task.view->header.code_bits) {
    case 4:
      return run_groups<4>(task, first, last);
    case 5:
      return run_groups<5>(task, first, last);
    default:
      return run_groups<8>(task, first, last);
  }
}

}  // namespace dcz::avx512
