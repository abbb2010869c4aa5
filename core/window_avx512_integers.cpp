// The form `window` with AVX-512 in integers: x as 1 or 3 unsigned byte planes of fixed-point numbers, the codebook as
// 1 or 2 planes of signed digits, their products summed by `vpdpbusd`. A plane of x is a plane, whichever vector it is
// of: the planes of several vectors share the places and digits of a step.
#include "window_avx512.hpp"

namespace dcz::avx512 {
namespace {

constexpr std::size_t planes_of(Arithmetic arithmetic) { return arithmetic == Arithmetic::x8 ? 1 : 3; }
constexpr std::size_t digits_of(Arithmetic arithmetic) { return arithmetic == Arithmetic::x24w16 ? 2 : 1; }

// A plane of digits, looked up by codes.
template <unsigned kCodeBits>
class Digits {
 public:
  explicit Digits(const std::int8_t* digits) {
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

// How the windows of a pair lie: blocks that both steps need are loaded once.
enum Windows : unsigned { same, neighbours, apart };

// Pairs of one group sorted by their windows.
template <unsigned kMost>
struct SortedPairs {
  struct List {
    unsigned count;
    alignas(64) std::uint32_t pairs[kMost + 16], starts[kMost + 16];
  };
  List lists[3];

  void clear() {
    for (List& list : lists) list.count = 0;
  }

  // Up to 16 pairs before `last` whose first window begins before `limit`. Returns how many.
  unsigned add(const WindowView& view, std::size_t pair, std::size_t last, std::size_t limit) {
    const __mmask16 here = static_cast<__mmask16>(last - pair < 16 ? (1u << (last - pair)) - 1 : 0xffff);
    const V bound = _mm512_set1_epi16(static_cast<short>(view.blocks - 2));
    const V starts = _mm512_min_epu16(_mm512_maskz_loadu_epi32(here, view.starts + 2 * pair), bound);
    const V first = _mm512_and_si512(starts, _mm512_set1_epi32(0xffff)), second = _mm512_srli_epi32(starts, 16);
    const __mmask16 before = _mm512_mask_cmplt_epu32_mask(here, first, _mm512_set1_epi32(static_cast<int>(limit)));
    const auto taken = static_cast<unsigned>(_tzcnt_u32(~static_cast<unsigned>(before)));
    const auto all = static_cast<__mmask16>((1u << taken) - 1);
    const V ahead = _mm512_sub_epi32(second, first);
    const __mmask16 is_same = _mm512_mask_cmpeq_epi32_mask(all, ahead, _mm512_setzero_si512());
    const __mmask16 is_next = _mm512_mask_cmpeq_epi32_mask(all, ahead, _mm512_set1_epi32(1));
    const V counting = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const V pairs = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(pair)), counting);
    append(lists[same], is_same, pairs, starts);
    append(lists[neighbours], is_next, pairs, starts);
    append(lists[apart], static_cast<__mmask16>(all & ~(is_same | is_next)), pairs, starts);
    return taken;
  }

 private:
  static void append(List& list, __mmask16 which, V pairs, V starts) {
    store(list.pairs + list.count, _mm512_maskz_compress_epi32(which, pairs));
    store(list.starts + list.count, _mm512_maskz_compress_epi32(which, starts));
    list.count += static_cast<unsigned>(_mm_popcnt_u32(which));
  }
};

// The sums of a pass, kPlanes planes of x with kDigits planes of digits each, over the pairs of groups.
template <unsigned kCodeBits, bool kTransposed, unsigned kPlanes, unsigned kDigits>
class Pass {
 public:
  static constexpr unsigned kSums = kPlanes * kDigits;
  static constexpr std::size_t kBlockBytes = kPlanes * kBlockElements;

  Pass(const WindowView& view, const std::uint8_t* x) : view_(view), x_(x), digits_{make_digits(view)} {}

  // Adds pairs from `pair` on while they are before `last` and begin before the block `limit`; returns the next.
  std::size_t add(std::size_t pair, std::size_t last, std::size_t limit, V* memory) const {
    V sums[kSets][kPlanes][kDigits];
#pragma GCC unroll 24
    for (unsigned i = 0; i < kSums; ++i) sums[0][i / kDigits][i % kDigits] = load(memory + i);
    if constexpr (kSets == 2) {
      for (unsigned i = 0; i < kSums; ++i) sums[1][i / kDigits][i % kDigits] = _mm512_setzero_si512();
    }
    if constexpr (kSorted) {
      pair = add_sorted(pair, last, limit, sums);
    } else {
      for (; pair < last; ++pair) add_pair<apart>(pair, view_.start(2 * pair), view_.start(2 * pair + 1), sums);
    }
#pragma GCC unroll 24
    for (unsigned i = 0; i < kSums; ++i) {
      V sum = sums[0][i / kDigits][i % kDigits];
      if constexpr (kSets == 2) sum = _mm512_add_epi32(sum, sums[1][i / kDigits][i % kDigits]);
      store(memory + i, sum);
    }
    return pair;
  }

  // Few planes: sorting takes longer than it saves.
  static constexpr bool kSorted = kPlanes >= 8;

 private:
  // Few sums: two sets, so that a step need not wait for the one before.
  static constexpr unsigned kSets = kSums <= 3 ? 2 : 1;
  // So many pairs are sorted at once that the blocks of their windows stay in the first cache.
  static constexpr unsigned kAtOnce = kPlanes >= 16 ? 16 : 64;
  static constexpr std::size_t kPairBytes = kCodeBits == 8 ? 256 : 192;
  using Sums = V[kSets][kPlanes][kDigits];

  struct DigitPlanes {
    Digits<kCodeBits> planes[kDigits];
  };
  static DigitPlanes make_digits(const WindowView& view) {
    if constexpr (kDigits == 1) {
      return {{Digits<kCodeBits>(view.digit_plane(0))}};
    } else {
      return {{Digits<kCodeBits>(view.digit_plane(1)), Digits<kCodeBits>(view.digit_plane(2))}};
    }
  }

  std::size_t add_sorted(std::size_t pair, std::size_t last, std::size_t limit, Sums& sums) const {
    SortedPairs<kAtOnce> sorted;
    for (bool more = true; more && pair < last;) {
      sorted.clear();
      for (unsigned round = 0; more && round < kAtOnce / 16 && pair < last; ++round) {
        const unsigned taken = sorted.add(view_, pair, last, limit);
        pair += taken;
        more = taken == 16;
      }
      add_list<same>(sorted.lists[same], sums);
      add_list<neighbours>(sorted.lists[neighbours], sums);
      add_list<apart>(sorted.lists[apart], sums);
    }
    return pair;
  }

  template <Windows kWindows, typename List>
  void add_list(const List& list, Sums& sums) const {
    for (unsigned i = 0; i < list.count; ++i) {
      add_pair<kWindows>(list.pairs[i], list.starts[i] & 0xffff, list.starts[i] >> 16, sums);
    }
  }

  template <Windows kWindows>
  [[gnu::always_inline]] void add_pair(std::size_t pair, std::size_t first, std::size_t second, Sums& sums) const {
    const std::uint8_t* const bytes = view_.stream + pair * kPairBytes;
    prefetch_pair(bytes, kPairBytes);
    const Steps steps = read_steps<kCodeBits, kTransposed>(bytes);
    V digits[2][kDigits];
    for (unsigned i = 0; i < 2 * kDigits; ++i) {
      digits[i / kDigits][i % kDigits] = digits_.planes[i % kDigits].look_up(steps.codes[i / kDigits]);
    }
    const std::uint8_t *const x0 = x_ + first * kBlockBytes, *const x1 = x_ + second * kBlockBytes;
#pragma GCC unroll 24
    for (unsigned plane = 0; plane < kPlanes; ++plane) {
      const std::size_t at = plane * kBlockElements;
      const V a = load(x0 + at), b = load(x0 + kBlockBytes + at);
      const V c = kWindows == same ? a : kWindows == neighbours ? b : load(x1 + at);
      const V d = kWindows == same ? b : load(x1 + kBlockBytes + at);
      const V columns[2] = {_mm512_permutex2var_epi8(a, steps.places[0], b),
                            _mm512_permutex2var_epi8(c, steps.places[1], d)};
#pragma GCC unroll 4
      for (unsigned i = 0; i < 2 * kDigits; ++i) {
        V& sum = sums[i / kDigits % kSets][plane][i % kDigits];
        sum = _mm512_dpbusd_epi32(sum, columns[i / kDigits], digits[i / kDigits][i % kDigits]);
      }
    }
  }

  const WindowView& view_;
  const std::uint8_t* x_;
  DigitPlanes digits_;
};

// The exact sums of one vector and 16 rows, from those of each plane of x and each of digits, -> y.
template <unsigned kPlanes, unsigned kDigits>
__m512 finish(const V* sums, const V (&row_sums)[kDigits], float step, float scale) {
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
constexpr std::size_t kGroups = 8, kPartBytes = 24 << 10;

template <unsigned kCodeBits, bool kTransposed, Arithmetic kArithmetic, unsigned kWidth>
void run_pass(const WindowTask& task, std::size_t vector, std::size_t width, std::size_t first, std::size_t last) {
  constexpr unsigned kPerVector = planes_of(kArithmetic), kDigits = digits_of(kArithmetic);
  using ThisPass = Pass<kCodeBits, kTransposed, kWidth * kPerVector, kDigits>;
  const WindowView& view = *task.view;
  const ThisPass pass(view, task.prepared + vector * kPerVector * view.blocks * kBlockElements);
  V sums[kGroups][ThisPass::kSums] = {};
  std::size_t pairs[kGroups];
  for (std::size_t group = first; group < last; ++group) pairs[group - first] = view.first_pair(group);
  const std::size_t part = ThisPass::kSorted ? kPartBytes / ThisPass::kBlockBytes : view.blocks;
  for (std::size_t limit = part;; limit += part) {
    const bool all = limit >= view.blocks;
    for (std::size_t group = first; group < last; ++group) {
      std::size_t& pair = pairs[group - first];
      pair = pass.add(pair, view.last_pair(group), all ? view.blocks : limit, sums[group - first]);
    }
    if (all) break;
  }
  constexpr bool kWide = kArithmetic == Arithmetic::x24w16;
  const float scale = kWide ? view.header.scale16 : view.header.scale8;
  for (std::size_t group = first; group < last; ++group) {
    const Rows rows(task, group);
    V row_sums[kDigits];
    for (unsigned i = 0; i < kDigits; ++i) {
      row_sums[i] = load(view.sum_plane(kWide ? 1 + i : 0) + group * kGroupRows);
    }
    for (std::size_t v = 0; v < width; ++v) {
      rows.put(task.y + (vector + v) * view.header.rows,
               finish<kPerVector, kDigits>(sums[group - first] + v * kPerVector * kDigits, row_sums,
                                           task.steps[vector + v], scale));
    }
  }
}

// The vectors of the next pass, and the width of its kernel, which may be a little more.
struct PassWidth {
  std::size_t vectors, width;
};

PassWidth pass_width(Arithmetic arithmetic, std::size_t left) {
  const std::size_t most = arithmetic == Arithmetic::x8 ? 24 : arithmetic == Arithmetic::x24w8 ? 8 : 4;
  std::size_t width = most;
  for (const std::size_t smaller : {16, 8, 4, 2, 1}) {
    if (smaller < width && (left <= smaller || 5 * left < 4 * width)) width = smaller;
  }
  return {left < width ? left : width, width};
}

template <unsigned kCodeBits, bool kTransposed, Arithmetic kArithmetic>
void run_groups(const WindowTask& task, std::size_t first, std::size_t last) {
  for (std::size_t vector = 0; vector < task.vectors;) {
    const PassWidth pass = pass_width(kArithmetic, task.vectors - vector);
    const auto run = [&]<unsigned kWidth>() {
      run_pass<kCodeBits, kTransposed, kArithmetic, kWidth>(task, vector, pass.vectors, first, last);
    };
    switch (pass.width) {
      case 1:
        run.template operator()<1>();
        break;
      case 2:
        run.template operator()<2>();
        break;
      case 4:
        run.template operator()<4>();
        break;
      default:
        if constexpr (kArithmetic == Arithmetic::x8) {
          if (pass.width == 24) run.template operator()<24>();
          if (pass.width == 16) run.template operator()<16>();
        }
        if constexpr (kArithmetic != Arithmetic::x24w16) {
          if (pass.width == 8) run.template operator()<8>();
        }
    }
    vector += pass.vectors;
  }
}

template <unsigned kCodeBits, bool kTransposed>
void run_some(const WindowTask& task, std::size_t first, std::size_t last) {
  switch (task.arithmetic) {
    case Arithmetic::x8:
      return run_groups<kCodeBits, kTransposed, Arithmetic::x8>(task, first, last);
    case Arithmetic::x24w8:
      return run_groups<kCodeBits, kTransposed, Arithmetic::x24w8>(task, first, last);
    default:
      return run_groups<kCodeBits, kTransposed, Arithmetic::x24w16>(task, first, last);
  }
}

}  // namespace

// A pass wider than its vectors is the last one, and less than the widest.
std::size_t prepared_bytes_integers(const WindowTask& task) {
  std::size_t width = 0;
  for (std::size_t vector = 0; vector < task.vectors;) {
    const PassWidth pass = pass_width(task.arithmetic, task.vectors - vector);
    vector += pass.vectors;
    width += pass.width;
  }
  return width * planes_of(task.arithmetic) * task.view->blocks * kBlockElements;
}

void prepare_integers(const WindowTask& task, std::size_t first, std::size_t last) {
  const WindowView& view = *task.view;
  const std::size_t planes = planes_of(task.arithmetic), plane_bytes = view.blocks * kBlockElements;
  const V offset = _mm512_set1_epi32(planes == 1 ? kOffset8 : kOffset24);
  PassWidth pass{0, 0};
  std::size_t begin = 0;
  for (std::size_t v = first; v < last; ++v) {
    while (begin + pass.vectors <= v) {
      begin += pass.vectors;
      pass = pass_width(task.arithmetic, task.vectors - begin);
    }
    const std::size_t block_bytes = pass.width * planes * kBlockElements;
    std::uint8_t* const out = task.prepared + begin * planes * plane_bytes + (v - begin) * planes * kBlockElements;
    const __m512 per_step = _mm512_set1_ps(1 / task.steps[v]);
    for (std::size_t block = 0; block < view.blocks; ++block) {
      const __mmask64 there = columns_of(view, block);
      __m512 columns[4];
      load_block(task.x + v * view.header.columns, block, there, columns);
      V numbers[4], bytes[4];
      for (unsigned i = 0; i < 4; ++i) {
        numbers[i] = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(columns[i], per_step)), offset);
      }
      split_planes(numbers, bytes);
      for (std::size_t i = 0; i < planes; ++i) {
        store(out + block * block_bytes + i * kBlockElements, _mm512_maskz_mov_epi8(there, bytes[i]));
      }
    }
  }
}

void run_integers(const WindowTask& task, std::size_t first, std::size_t last) {
  const bool transposed = task.view->slots() != SlotOrder::by_row;
  for (std::size_t group = first; group < last; group += kGroups) {
    const std::size_t end = last - group < kGroups ? last : group + kGroups;
    switch (task.view->header.code_bits) {
      case 4:
        transposed ? run_some<4, true>(task, group, end) : run_some<4, false>(task, group, end);
        break;
      case 5:
        transposed ? run_some<5, true>(task, group, end) : run_some<5, false>(task, group, end);
        break;
      default:
        transposed ? run_some<8, true>(task, group, end) : run_some<8, false>(task, group, end);
    }
  }
}

}  // namespace dcz::avx512
