// The form `window` with AVX-512 in integers for one vector: x as 1 or 3 planes of bytes, weights as 1 or 3 planes of
// digits. `vpdpbusd` sums the products of each plane with each. This serves one window a pair, and x24w24.
#include "packed/window/avx512.hpp"

namespace dcz::avx512 {
namespace {

// So many groups take turns at a part of x that stays in the first cache, beside the weights that are read.
constexpr std::size_t kGroups = 8, kPartBytes = 16 << 10;

// Results of so many groups are brought to their rows together.
constexpr std::size_t kTogether = 32;

// The pairs of a view, and x in planes of bytes: the pointers of the innermost loop.
struct Pairs {
  const std::uint16_t* starts;
  const std::uint8_t *stream, *fifths, *x;
  std::size_t last_start;

  explicit Pairs(const WindowTask& task)
      : starts(task.view->starts),
        stream(task.view->stream),
        fifths(task.view->fifths),
        x(task.prepared),
        last_start(task.view->last_start) {}
};

// add(bytes of a pair, the windows of its steps, its fifths, a number that differs between neighbours) for pairs from
// `pair` on, as far as they are before `last` and begin, about, before the block `limit`. Returns the next pair.
//
// One load finds the starts of four windows: four loads would cost more than the rest of a pair. It may read behind the
// last start, where the stream follows.
template <unsigned kCodeBits, bool kOneWindow, std::size_t kBlockBytes, typename Add>
[[gnu::always_inline]] inline std::size_t visit_pairs(Pairs pairs, std::size_t pair, std::size_t last,
                                                      std::size_t limit, const Add& add) {
  constexpr std::size_t kPairBytes = pair_bytes(kCodeBits), kAtOnce = kOneWindow ? 4 : 2;
  constexpr unsigned kStartBits = 64 / kAtOnce, kSecond = kOneWindow ? 0 : 16;
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

template <unsigned kCodeBits, bool kOneWindow, unsigned kPlanes, unsigned kDigits>
class Run {
 public:
  explicit Run(const WindowTask& task)
      : task_(task), view_(*task.view), pairs_(task), digits_(digits_of(view_, task.arithmetic)) {
    for (unsigned i = 0; i < kDigits; ++i) tables_[i].set(view_.digit_plane(digits_.first + i));
  }

  void groups(std::size_t first, std::size_t last) const {
    if (kBlockBytes * view_.blocks <= kPartBytes + kPartBytes / 2) {
      for (; first < last; first += kTogether) one_by_one(first, last - first < kTogether ? last : first + kTogether);
      return;
    }
    for (; first < last; first += kGroups) by_turns(first, last - first < kGroups ? last : first + kGroups);
  }

 private:
  static constexpr std::size_t kBlockBytes = kPlanes * kBlockElements;
  // x24w24: all planes of x have 128 added, and the product of the lowest two is left out.
  static constexpr bool kBalanced = kDigits == 3;
  // The products of the plane i of x with the plane j of digits have the power i + j of 256.
  static constexpr unsigned kFirstPower = kBalanced ? 1 : 0, kPowers = kPlanes + kDigits - 1 - kFirstPower;
  // With one plane there are about as many loads as look-ups.
  static constexpr bool kOnePlane = kPlanes == 1;
  // Several sets: a step need not wait for the one before. With one window a pair, each step has its own.
  static constexpr unsigned kSets = kOnePlane ? 4 : 2;
  using Sums = V[kSets][kPlanes][kDigits];
  // The sums of a group, by 16 rows.
  static constexpr unsigned kHalves = kOneWindow ? 2 : 1;
  using Powers = V[kHalves][kPowers];

  static constexpr bool counts(unsigned plane, unsigned digit) { return !kBalanced || plane + digit > 0; }

  static void clear(Powers& sums) {
    for (auto& half : sums) {
      for (V& sum : half) sum = _mm512_setzero_si512();
    }
  }

  // Results are kept until there are many: between the pairs of two groups, stores to scattered rows take twice as
  // long.
  [[gnu::noinline]] void one_by_one(std::size_t first, std::size_t last) const {
    __m512 results[kTogether][kHalves];
    Powers sums;
    for (std::size_t group = first; group < last; ++group) {
      clear(sums);
      add_pairs(view_.first_pair(group), view_.last_pair(group), view_.blocks, sums);
      for (unsigned i = 0; i < kHalves; ++i) results[group - first][i] = total(group * kHalves + i, sums[i]);
    }
    for (std::size_t group = first; group < last; ++group) {
      for (unsigned i = 0; i < kHalves; ++i) put(group * kHalves + i, results[group - first][i]);
    }
  }

  // Inlined into what chooses among many, its loops would spill registers.
  [[gnu::noinline]] void by_turns(std::size_t first, std::size_t last) const {
    Powers sums[kGroups];
    std::size_t pairs[kGroups];
    for (std::size_t group = first; group < last; ++group) {
      clear(sums[group - first]);
      pairs[group - first] = view_.first_pair(group);
    }
    for (std::size_t limit = 0; limit < view_.blocks;) {
      limit += kPartBytes / kBlockBytes;
      for (std::size_t i = 0; i < last - first; ++i) {
        pairs[i] = add_pairs(pairs[i], view_.last_pair(first + i), limit, sums[i]);
      }
    }
    for (std::size_t i = 0; i < (last - first) * kHalves; ++i) {
      const std::size_t sixteen = first * kHalves + i;
      put(sixteen, total(sixteen, sums[i / kHalves][i % kHalves]));
    }
  }

  void put(std::size_t sixteen, __m512 sums) const {
    if (task_.bias) sums = _mm512_add_ps(sums, bias_of(task_, sixteen));
    put_rows(task_, sixteen, sums, task_.y);
  }

  // Adds the pairs that visit_pairs visits to the sums, and returns its result.
  [[gnu::always_inline]] std::size_t add_pairs(std::size_t pair, std::size_t last, std::size_t limit,
                                               Powers& memory) const {
    if constexpr (kOnePlane) {
      return add_pairs_here(pair, last, limit, memory);
    } else {
      return add_pairs_apart(pair, last, limit, memory);
    }
  }

  // Inlined, more than one plane would need more registers than there are.
  [[gnu::noinline]] std::size_t add_pairs_apart(std::size_t pair, std::size_t last, std::size_t limit,
                                                Powers& memory) const {
    return add_pairs_here(pair, last, limit, memory);
  }

  [[gnu::always_inline]] std::size_t add_pairs_here(std::size_t pair, std::size_t last, std::size_t limit,
                                                    Powers& memory) const {
    Sums sums;
#pragma GCC unroll 9
    for (unsigned i = 0; i < kPlanes * kDigits; ++i) {
      for (auto& set : sums) set[i / kDigits][i % kDigits] = _mm512_setzero_si512();
    }
    pair = visit_pairs<kCodeBits, kOneWindow, kBlockBytes>(
        pairs_, pair, last, limit,
        [&](const std::uint8_t* bytes, const std::uint8_t* window0, const std::uint8_t* window1,
            const std::uint8_t* fifths, std::size_t number)
            __attribute__((always_inline)) { add_pair(bytes, window0, window1, fifths, number, sums); });
#pragma GCC unroll 9
    for (unsigned i = 0; i < kPlanes * kDigits; ++i) {
      const unsigned plane = i / kDigits, digit = i % kDigits;
      if (!counts(plane, digit)) continue;
#pragma GCC unroll 4
      for (unsigned set = 0; set < kSets; ++set) {
        V& sum = memory[set % kHalves][plane + digit - kFirstPower];
        sum = _mm512_add_epi32(sum, sums[set][plane][digit]);
      }
    }
    return pair;
  }

  [[gnu::always_inline]] void add_pair(const std::uint8_t* bytes, const std::uint8_t* window0,
                                       const std::uint8_t* window1, const std::uint8_t* fifths, std::size_t number,
                                       Sums& sums) const {
    const Steps steps = read_steps<kCodeBits, false, kOneWindow, true>(bytes, fifths);
    if constexpr (kOnePlane) {
      const Window<kOneWindow, true> first(window0, kBlockBytes);
      const Window<kOneWindow, true> second = kOneWindow ? first : Window<kOneWindow, true>(window1, kBlockBytes);
      const V columns[2] = {first.look_up(steps.places[0]), second.look_up(steps.places[1])};
#pragma GCC unroll 2
      for (unsigned half = 0; half < 2; ++half) {
        V& sum = sums[(2 * number + half) % kSets][0][0];
        sum = _mm512_dpbusd_epi32(sum, columns[half], tables_[0].look_up(steps.codes[half]));
      }
      return;
    }
#pragma GCC unroll 2
    for (unsigned half = 0; half < 2; ++half) {
      const std::uint8_t* const window = half == 0 ? window0 : window1;
      V digits[kDigits];
#pragma GCC unroll 3
      for (unsigned i = 0; i < kDigits; ++i) digits[i] = tables_[i].look_up(steps.codes[half]);
#pragma GCC unroll 3
      for (unsigned plane = 0; plane < kPlanes; ++plane) {
        const Window<kOneWindow> x(window + plane * kBlockElements, kBlockBytes);
        const V columns = x.look_up(steps.places[half]);
#pragma GCC unroll 3
        for (unsigned i = 0; i < kDigits; ++i) {
          if (!counts(plane, i)) continue;
          V& sum = sums[half][plane][i];
          sum = _mm512_dpbusd_epi32(sum, columns, digits[i]);
        }
      }
    }
  }

  // The exact sums of 16 rows -> floats. Only the last of the additions rounds.
  __m512 total(std::size_t sixteen, const V (&sums)[kPowers]) const {
    V balance[kDigits], powers[kPowers];
    for (unsigned i = 0; i < kDigits; ++i) {
      balance[i] = _mm512_slli_epi32(load(view_.sum_plane(digits_.first + i) + sixteen * kStepRows), 7);
    }
    for (unsigned i = 0; i < kPowers; ++i) powers[i] = sums[i];
    for (unsigned i = 0; i < kPlanes * kDigits; ++i) {
      // not balanced, the offset of x is in its top plane alone
      if (kBalanced ? i == 0 : i / kDigits + 1 < kPlanes) continue;
      V& power = powers[i / kDigits + i % kDigits - kFirstPower];
      power = _mm512_sub_epi32(power, balance[i % kDigits]);
    }
    const double unit = static_cast<double>(task_.steps[0]) * static_cast<double>(digits_.scale);
    __m256 halves[2];
    for (int half = 0; half < 2; ++half) {
      const auto part = [&](unsigned power) {
        const V sum = powers[power];
        return _mm512_cvtepi32_pd(half == 0 ? _mm512_castsi512_si256(sum) : _mm512_extracti64x4_epi64(sum, 1));
      };
      __m512d all = part(kPowers - 1);
      for (unsigned i = kPowers - 1; i-- > 0;) all = _mm512_fmadd_pd(all, _mm512_set1_pd(256), part(i));
      halves[half] = _mm512_cvtpd_ps(_mm512_mul_pd(all, _mm512_set1_pd(kFirstPower == 0 ? unit : 256 * unit)));
    }
    return _mm512_insertf32x8(_mm512_castps256_ps512(halves[0]), halves[1], 1);
  }

  const WindowTask& task_;
  const WindowView& view_;
  const Pairs pairs_;
  const DigitRange digits_;
  DigitTable<kCodeBits> tables_[kDigits];
};

}  // namespace

void run_one_vector(const WindowTask& task, std::size_t first, std::size_t last) {
  by_code_bits(task.view->header, [&](auto code_bits) {
    switch (task.arithmetic) {
      case Arithmetic::x8:
        return Run<code_bits(), true, 1, 1>(task).groups(first, last);
      case Arithmetic::x24w8:
        return Run<code_bits(), true, 3, 1>(task).groups(first, last);
      default:
        return Run<code_bits(), false, 3, 3>(task).groups(first, last);
    }
  });
}

}  // namespace dcz::avx512
