// The form `wide` with AVX-512 in integers: x as 1 or 3 planes of bytes, weights as 1 or 3 planes of signed digits, and
// the products of each plane with each summed by `vpdpbusd`.
#include "packed/wide/avx512.hpp"
#include "packed/window/avx512_digits.hpp"

namespace dcz::avx512 {
namespace {

// So many groups take turns at a part of x that stays in the first cache, beside what is read of the weights.
constexpr std::size_t kGroups = 8, kPartBytes = 16 << 10;

// Results of so many groups are brought to their rows together.
constexpr std::size_t kTogether = 32;

template <unsigned kCodeBits, bool kTwoWindows, unsigned kPlanes, unsigned kDigits>
class Run {
 public:
  Run(const WideTask& task, const WideDigits& digits) : task_(task), view_(*task.view), pairs_(task), digits_(digits) {
    for (unsigned i = 0; i < kDigits; ++i) tables_[i].set(view_.digit_plane(digits.first + i));
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
  // The products of the plane i of x with the plane j of digits have the power i + j of 256.
  static constexpr unsigned kFirstPower = counts(kDigits, 0, 0) ? 0 : 1, kPowers = kPlanes + kDigits - 1 - kFirstPower;
  // One plane is looked up about as often as there is something to load.
  static constexpr bool kOnePlane = kPlanes == 1;
  // Several sets, so that a step need not wait for the one before; with one window of a pair, each step's own.
  static constexpr unsigned kSets = kOnePlane ? 4 : 2;
  using Sums = V[kSets][kPlanes][kDigits];
  // The sums of a group, by 16 rows.
  static constexpr unsigned kHalves = kTwoWindows ? 1 : 2;
  using Powers = V[kHalves][kPowers];

  static void clear(Powers& sums) {
    for (auto& half : sums) {
      for (V& sum : half) sum = _mm512_setzero_si512();
    }
  }

  // Results are kept until there are many: between the pairs of two groups, stores to rows here and there take twice as
  // long.
  void one_by_one(std::size_t first, std::size_t last) const {
    __m512 results[kTogether][kHalves];
    Powers sums;
    for (std::size_t group = first; group < last; ++group) {
      clear(sums);
      add_pairs(view_.first_pair(group), view_.last_pair(group), view_.blocks, sums);
      for (unsigned i = 0; i < kHalves; ++i) results[group - first][i] = total(group * kHalves + i, sums[i]);
    }
    for (std::size_t group = first; group < last; ++group) {
      for (unsigned i = 0; i < kHalves; ++i) put_sixteen(task_, group * kHalves + i, results[group - first][i]);
    }
  }

  void by_turns(std::size_t first, std::size_t last) const {
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
      put_sixteen(task_, sixteen, total(sixteen, sums[i / kHalves][i % kHalves]));
    }
  }

  // Adds to the sums what visit_pairs visits, and gives what it gives.
  [[gnu::always_inline]] std::size_t add_pairs(std::size_t pair, std::size_t last, std::size_t limit,
                                               Powers& memory) const {
    if constexpr (kOnePlane) {
      return add_pairs_here(pair, last, limit, memory);
    } else {
      return add_pairs_apart(pair, last, limit, memory);
    }
  }

  // Inlined, its registers do not suffice for more than one plane.
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
    pair = visit_pairs<kCodeBits, kTwoWindows, kBlockBytes>(
        pairs_, pair, last, limit,
        [&](const std::uint8_t* bytes, const std::uint8_t* window0, const std::uint8_t* window1,
            const std::uint8_t* fifths, std::size_t number)
            __attribute__((always_inline)) { add_pair(bytes, window0, window1, fifths, number, sums); });
#pragma GCC unroll 9
    for (unsigned i = 0; i < kPlanes * kDigits; ++i) {
      const unsigned plane = i / kDigits, digit = i % kDigits;
      if (!counts(kDigits, plane, digit)) continue;
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
    const Steps steps = read_wide<kCodeBits, kOnePlane>(bytes, fifths);
    if constexpr (kOnePlane) {
      const Window<kTwoWindows, true> first(window0, kBlockBytes);
      const Window<kTwoWindows, true> second = kTwoWindows ? Window<kTwoWindows, true>(window1, kBlockBytes) : first;
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
        const Window<kTwoWindows> x(window + plane * kBlockElements, kBlockBytes);
        const V columns = x.look_up(steps.places[half]);
#pragma GCC unroll 3
        for (unsigned i = 0; i < kDigits; ++i) {
          if (!counts(kDigits, plane, i)) continue;
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
      if (!counts(kDigits, i / kDigits, i % kDigits)) continue;
      V& power = powers[i / kDigits + i % kDigits - kFirstPower];
      power = _mm512_sub_epi32(power, balance[i % kDigits]);
    }
    const double unit = static_cast<double>(task_.step) * static_cast<double>(digits_.scale);
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

  const WideTask& task_;
  const WideView& view_;
  const Pairs pairs_;
  const WideDigits digits_;
  Digits<kCodeBits> tables_[kDigits];
};

template <unsigned kCodeBits, bool kTwoWindows>
void run(const WideTask& task, std::size_t first, std::size_t last) {
  const WideDigits digits = task.view->digits24();
  if (task.arithmetic == WideArithmetic::x8) {
    Run<kCodeBits, kTwoWindows, 1, 1>(task, {0, 1, task.view->header.scale8}).groups(first, last);
  } else if (digits.count == 1) {
    Run<kCodeBits, kTwoWindows, 3, 1>(task, digits).groups(first, last);
  } else if constexpr (kTwoWindows) {
    Run<kCodeBits, kTwoWindows, 3, 3>(task, digits).groups(first, last);
  }
}

template <unsigned kCodeBits>
void run(const WideTask& task, std::size_t first, std::size_t last) {
  task.view->two_windows() ? run<kCodeBits, true>(task, first, last) : run<kCodeBits, false>(task, first, last);
}

}  // namespace

void run_wide_integers(const WideTask& task, std::size_t first, std::size_t last) {
  switch (task.view->header.code_bits) {
    case 4:
      return run<4>(task, first, last);
    case 5:
      return run<5>(task, first, last);
    default:
      return run<8>(task, first, last);
  }
}

}  // namespace dcz::avx512
