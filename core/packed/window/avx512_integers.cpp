// The form `window` with AVX-512 in integers: x as 1 or 3 unsigned byte planes of fixed point, the codebook as 1 or 2
// planes of signed digits. `vpdpbusd` sums their products. The planes of several vectors share the places and digits of
// a step: no plane depends on its vector.
#include "packed/window/avx512.hpp"

namespace dcz::avx512 {
namespace {

constexpr std::size_t planes_of(Arithmetic arithmetic) { return arithmetic == Arithmetic::x8 ? 1 : 3; }
constexpr std::size_t digits_of(Arithmetic arithmetic) { return arithmetic == Arithmetic::x24w16 ? 2 : 1; }

// The vectors of the next pass, and the width of its kernel, which may be a little more.
struct PassWidth {
  std::size_t vectors, width;
};

PassWidth pass_width(Arithmetic arithmetic, std::size_t left) {
  const std::size_t most = arithmetic == Arithmetic::x8 ? 16 : arithmetic == Arithmetic::x24w8 ? 8 : 4;
  std::size_t width = most;
  for (const std::size_t smaller : {8, 4, 2, 1}) {
    if (smaller < width && (left <= smaller || 5 * left < 4 * width)) width = smaller;
  }
  return {left < width ? left : width, width};
}

// The bytes of x in planes: [pass][block][vector][plane]. A pass wider than its vectors is the last one.
std::size_t plane_bytes(const WindowTask& task) {
  std::size_t width = 0;
  for (std::size_t vector = 0; vector < task.vectors;) {
    const PassWidth pass = pass_width(task.arithmetic, task.vectors - vector);
    vector += pass.vectors;
    width += pass.width;
  }
  return width * planes_of(task.arithmetic) * task.view->blocks * kBlockElements;
}

// Behind the planes: the results of a pass side by side, if it has several vectors.
float* results_of(const WindowTask& task, std::size_t vector) {
  return reinterpret_cast<float*>(task.prepared + plane_bytes(task)) + vector * task.view->header.rows;
}

// A vector of the pass that begins with the vector `begin`.
template <unsigned kPlanes>
void prepare_vector(const WindowTask& task, std::size_t vector, std::size_t begin, std::size_t width) {
  const WindowView& view = *task.view;
  const bool balanced = first_power(task.arithmetic) > 0;
  const V offset = _mm512_set1_epi32(kPlanes == 1 ? kOffset8 : balanced ? kBalance24 : kOffset24);
  const __m512 per_step = _mm512_set1_ps(1 / task.steps[vector]);
  const float* const x = task.x + vector * view.header.columns;
  std::uint8_t* out = task.prepared + (begin * view.blocks + vector - begin) * kPlanes * kBlockElements;
  for (std::size_t block = 0; block < view.blocks; ++block, out += width * kPlanes * kBlockElements) {
    const __mmask64 there = columns_of(view, block);
    __m512 columns[4];
    load_block(x, block, there, columns);
    V numbers[4], bytes[4];
    for (unsigned i = 0; i < 4; ++i) {
      numbers[i] = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(columns[i], per_step)), offset);
    }
    split_planes(numbers, bytes);
    for (unsigned i = 0; i < kPlanes; ++i) store(out + i * kBlockElements, _mm512_maskz_mov_epi8(there, bytes[i]));
  }
}

// The sums of a pass over the pairs of groups: kPlanes planes of x, each with kDigits planes of digits.
template <unsigned kCodeBits, bool kTransposed, unsigned kPlanes, unsigned kDigits>
class Pass {
 public:
  static constexpr unsigned kSums = kPlanes * kDigits;
  static constexpr std::size_t kBlockBytes = kPlanes * kBlockElements;

  Pass(const WindowView& view, std::size_t first_digit, const std::uint8_t* x) : view_(view), x_(x) {
    for (unsigned i = 0; i < kDigits; ++i) digits_[i].set(view.digit_plane(first_digit + i));
  }

  // Adds pairs from `pair` on, as far as they are before `last` and begin before the block `limit`. Returns the next
  // pair. The sums stay in `memory`, except that `first` begins with zeros.
  std::size_t add(std::size_t pair, std::size_t last, std::size_t limit, bool first, V* memory) const {
    V sums[kSets][kPlanes][kDigits];
#pragma GCC unroll 24
    for (unsigned i = 0; i < kSums; ++i) {
      sums[0][i / kDigits][i % kDigits] = first ? _mm512_setzero_si512() : load(memory + i);
    }
    if constexpr (kSets == 2) {
      for (unsigned i = 0; i < kSums; ++i) sums[1][i / kDigits][i % kDigits] = _mm512_setzero_si512();
    }
    for (; pair < last && view_.start(2 * pair) < limit; ++pair) add_pair(pair, sums);
#pragma GCC unroll 24
    for (unsigned i = 0; i < kSums; ++i) {
      V sum = sums[0][i / kDigits][i % kDigits];
      if constexpr (kSets == 2) sum = _mm512_add_epi32(sum, sums[1][i / kDigits][i % kDigits]);
      store(memory + i, sum);
    }
    return pair;
  }

 private:
  // With few sums there are two sets: a step need not wait for the one before.
  static constexpr unsigned kSets = kSums <= 3 ? 2 : 1;
  static constexpr std::size_t kPairBytes = pair_bytes(kCodeBits);
  using Sums = V[kSets][kPlanes][kDigits];

  [[gnu::always_inline]] void add_pair(std::size_t pair, Sums& sums) const {
    const std::uint8_t* const bytes = view_.stream + pair * kPairBytes;
    prefetch_pair(bytes, kPairBytes);
    const Steps steps = read_steps<kCodeBits, kTransposed>(bytes, nullptr);
    V digits[2][kDigits];
    for (unsigned i = 0; i < 2 * kDigits; ++i) {
      digits[i / kDigits][i % kDigits] = digits_[i % kDigits].look_up(steps.codes[i / kDigits]);
    }
    const std::uint8_t* const x0 = x_ + view_.start(2 * pair) * kBlockBytes;
    const std::uint8_t* const x1 = x_ + view_.start(2 * pair + 1) * kBlockBytes;
#pragma GCC unroll 24
    for (unsigned plane = 0; plane < kPlanes; ++plane) {
      const std::size_t at = plane * kBlockElements;
      const V columns[2] = {Window<false>(x0 + at, kBlockBytes).look_up(steps.places[0]),
                            Window<false>(x1 + at, kBlockBytes).look_up(steps.places[1])};
#pragma GCC unroll 4
      for (unsigned i = 0; i < 2 * kDigits; ++i) {
        V& sum = sums[i / kDigits % kSets][plane][i % kDigits];
        sum = _mm512_dpbusd_epi32(sum, columns[i / kDigits], digits[i / kDigits][i % kDigits]);
      }
    }
  }

  const WindowView& view_;
  const std::uint8_t* x_;
  DigitTable<kCodeBits> digits_[kDigits];
};

// The sums of each plane of x with each plane of digits -> the exact results of one vector and 16 rows.
template <unsigned kPlanes, unsigned kDigits>
__m512 exact_sums(const V* sums, const V (&row_sums)[kDigits], float step, float scale) {
  const __m512d unit = _mm512_set1_pd(static_cast<double>(step) * static_cast<double>(scale));
  __m256 halves[2];
  for (int half = 0; half < 2; ++half) {
    V total = _mm512_setzero_si512();
    for (unsigned digit = kDigits; digit-- > 0;) {
      // the offset of x is 128 in its top plane
      const V offset = _mm512_slli_epi32(row_sums[digit], 7);
      V sum = _mm512_setzero_si512();
      for (unsigned plane = kPlanes; plane-- > 0;) {
        V part = sums[plane * kDigits + digit];
        if (plane == kPlanes - 1) part = _mm512_sub_epi32(part, offset);
        const __m256i lanes = half == 0 ? _mm512_castsi512_si256(part) : _mm512_extracti64x4_epi64(part, 1);
        sum = _mm512_add_epi64(_mm512_slli_epi64(sum, 8), _mm512_cvtepi32_epi64(lanes));
      }
      total = _mm512_add_epi64(_mm512_slli_epi64(total, 8), sum);
    }
    halves[half] = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_cvtepi64_pd(total), unit));
  }
  return _mm512_insertf32x8(_mm512_castps256_ps512(halves[0]), halves[1], 1);
}

// So many groups take turns at a part of x that stays in the first cache.
constexpr std::size_t kGroups = 8, kPartBytes = 32 << 10;

template <unsigned kCodeBits, bool kTransposed, Arithmetic kArithmetic, unsigned kWidth>
void run_pass(const WindowTask& task, std::size_t vector, std::size_t width, std::size_t first, std::size_t last) {
  constexpr unsigned kPerVector = planes_of(kArithmetic), kDigits = digits_of(kArithmetic);
  using ThisPass = Pass<kCodeBits, kTransposed, kWidth * kPerVector, kDigits>;
  const WindowView& view = *task.view;
  const DigitRange digits = dcz::digits_of(view, kArithmetic);
  const ThisPass pass(view, digits.first, task.prepared + vector * kPerVector * view.blocks * kBlockElements);
  V sums[kGroups][ThisPass::kSums];
  std::size_t pairs[kGroups];
  for (std::size_t group = first; group < last; ++group) pairs[group - first] = view.first_pair(group);
  const std::size_t part =
      ThisPass::kBlockBytes * view.blocks <= 2 * kPartBytes ? view.blocks : kPartBytes / ThisPass::kBlockBytes;
  for (std::size_t limit = part;; limit += part) {
    const bool all = limit >= view.blocks;
    for (std::size_t group = first; group < last; ++group) {
      std::size_t& pair = pairs[group - first];
      pair = pass.add(pair, view.last_pair(group), all ? view.blocks : limit, limit == part, sums[group - first]);
    }
    if (all) break;
  }
  float* const results = results_of(task, vector);
  for (std::size_t group = first; group < last; ++group) {
    const __m512 bias = bias_of(task, group);
    V row_sums[kDigits];
    for (unsigned i = 0; i < kDigits; ++i) {
      row_sums[i] = load(view.sum_plane(digits.first + i) + group * kStepRows);
    }
    const auto total = [&](std::size_t v) {
      const V* const parts = sums[group - first] + v * kPerVector * kDigits;
      return _mm512_add_ps(exact_sums<kPerVector, kDigits>(parts, row_sums, task.steps[vector + v], digits.scale),
                           bias);
    };
    if constexpr (kWidth == 1) {
      put_rows(task, group, total(0), task.y + vector * view.header.rows);
    } else {
      __m512 totals[16];
#pragma GCC unroll 16
      for (unsigned v = 0; v < 16; ++v) totals[v] = v < kWidth && v < width ? total(v) : _mm512_setzero_ps();
      put_side_by_side(task, group, totals, width, results);
    }
  }
}

// kWidths: all that pass_width returns for the arithmetic.
template <unsigned kCodeBits, bool kTransposed, Arithmetic kArithmetic, unsigned... kWidths>
void run_groups(const WindowTask& task, std::size_t first, std::size_t last) {
  for (std::size_t vector = 0; vector < task.vectors;) {
    const PassWidth pass = pass_width(kArithmetic, task.vectors - vector);
    const auto run = [&]<unsigned kWidth>(std::integral_constant<unsigned, kWidth>) {
      if (pass.width != kWidth) return;
      run_pass<kCodeBits, kTransposed, kArithmetic, kWidth>(task, vector, pass.vectors, first, last);
    };
    (run(std::integral_constant<unsigned, kWidths>{}), ...);
    vector += pass.vectors;
  }
}

template <unsigned kCodeBits, bool kTransposed>
void run_some(const WindowTask& task, std::size_t first, std::size_t last) {
  switch (task.arithmetic) {
    case Arithmetic::x8:
      return run_groups<kCodeBits, kTransposed, Arithmetic::x8, 1, 2, 4, 8, 16>(task, first, last);
    case Arithmetic::x24w8:
      return run_groups<kCodeBits, kTransposed, Arithmetic::x24w8, 1, 2, 4, 8>(task, first, last);
    default:
      return run_groups<kCodeBits, kTransposed, Arithmetic::x24w16, 1, 2, 4>(task, first, last);
  }
}

}  // namespace

std::size_t prepared_bytes_integers(const WindowTask& task) {
  return plane_bytes(task) + task.vectors * task.view->header.rows * sizeof(float);
}

void prepare_integers(const WindowTask& task, std::size_t first, std::size_t last) {
  PassWidth pass{0, 0};
  std::size_t begin = 0;
  for (std::size_t v = first; v < last; ++v) {
    while (begin + pass.vectors <= v) {
      begin += pass.vectors;
      pass = pass_width(task.arithmetic, task.vectors - begin);
    }
    if (task.arithmetic == Arithmetic::x8) {
      prepare_vector<1>(task, v, begin, pass.width);
    } else {
      prepare_vector<3>(task, v, begin, pass.width);
    }
  }
}

void finish_integers(const WindowTask& task, std::size_t first_row, std::size_t last_row) {
  const std::size_t rows = task.view->header.rows;
  for (std::size_t vector = 0; vector < task.vectors;) {
    const std::size_t vectors = pass_width(task.arithmetic, task.vectors - vector).vectors;
    if (pass_width(task.arithmetic, task.vectors - vector).width > 1) {
      put_apart(results_of(task, vector), vectors, first_row, last_row, task.y + vector * rows, rows);
    }
    vector += vectors;
  }
}

void run_integers(const WindowTask& task, std::size_t first, std::size_t last) {
  const bool transposed = task.view->layout() == WindowLayout::by_slot;
  for (std::size_t group = first; group < last; group += kGroups) {
    const std::size_t end = last - group < kGroups ? last : group + kGroups;
    by_code_bits(task.view->header, [&](auto code_bits) {
      transposed ? run_some<code_bits(), true>(task, group, end) : run_some<code_bits(), false>(task, group, end);
    });
  }
}

}  // namespace dcz::avx512
