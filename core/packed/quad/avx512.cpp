// The form `quad` with AVX-512, in integers: panels times prepared columns, two runs side by side.
#include "packed/quad/avx512.hpp"

#include <cstring>
#include <utility>

namespace dcz {
namespace {

constexpr std::size_t kVectors = avx512::kQuadVectors, kLanes = avx512::kSquare, kSide = 2;
using avx512::V, avx512::load, avx512::store;

// The digits of a codebook, looked up for 64 entries at once.
template <unsigned kCodeBits>
struct DigitTable {
  V parts[kCodeBits == 8 ? 4 : 1];

  explicit DigitTable(const QuadView& view) {
    alignas(64) std::uint8_t table[sizeof parts];
    constexpr std::size_t kCode = (std::size_t{1} << kCodeBits) - 1;
    for (std::size_t i = 0; i < sizeof table; ++i) table[i] = static_cast<std::uint8_t>(view.digits[i & kCode]);
    for (std::size_t i = 0; i < sizeof parts / sizeof parts[0]; ++i) parts[i] = load(table + 64 * i);
  }

  // By the lowest 6 or 8 bits of entries. The bits above a code do not matter.
  V look_up(V low_bytes) const {
    if constexpr (kCodeBits != 8) {
      return _mm512_permutexvar_epi8(low_bytes, parts[0]);
    } else {
      const V low = _mm512_permutex2var_epi8(parts[0], low_bytes, parts[1]);
      const V high = _mm512_permutex2var_epi8(parts[2], low_bytes, parts[3]);
      return _mm512_mask_blend_epi8(_mm512_movepi8_mask(low_bytes), low, high);
    }
  }
};

inline V even_bytes() {
  alignas(64) std::uint8_t even[64];
  for (std::size_t i = 0; i < 64; ++i) even[i] = static_cast<std::uint8_t>(2 * i);
  return load(even);
}

// Two neighbouring runs, or the last one of a segment. Of their entries: the columns, without the codes below them, and
// four digits to a number.
struct Pair {
  static constexpr std::size_t kMost = (kSide * kMostFours + kLanes - 1) / kLanes * kLanes;

  alignas(64) std::uint16_t columns[kFour * kMost];
  alignas(64) std::uint32_t digits[kMost];
  Run runs[kSide];
  std::size_t count;
};

// Finds columns and digits a pair ahead: a load that follows its store too soon waits.
template <unsigned kCodeBits>
class Finder {
 public:
  explicit Finder(const QuadView& view)
      : view_(view),
        table_(view),
        even_(even_bytes()),
        column_(_mm512_set1_epi16(static_cast<short>(0xffffu >> kCodeBits << kCodeBits))),
        end_(view.entries + kFour * view.header.length) {}

  // False if the segment has no more.
  bool next(Groups<1>& groups, Pair& pair) const {
    pair.count = 0;
    for (Group group; pair.count < kSide && groups.next(group);) pair.runs[pair.count++] = run_of(view_, group);
    if (pair.count == 0) return false;
    const std::uint16_t* const entries = pair.runs[0].entries;
    const std::size_t fours = pair.runs[0].fours + (pair.count == kSide ? pair.runs[1].fours : 0);
    for (std::size_t four = 0; four < fours; four += kLanes) find(entries + kFour * four, four, pair);
    return true;
  }

 private:
  // Entries are read once. Where they do not fit into the second cache they are fetched so many bytes ahead.
  static constexpr std::size_t kAhead = 1024;

  void find(const std::uint16_t* at, std::size_t four, Pair& pair) const {
    _mm_prefetch(reinterpret_cast<const char*>(at) + kAhead, _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(at) + kAhead + 64, _MM_HINT_T0);
    V front, back;
    if (const auto left = static_cast<std::size_t>(end_ - at) / kFour; left >= kLanes) {
      front = _mm512_loadu_si512(at);
      back = _mm512_loadu_si512(at + 32);
    } else {
      const std::uint16_t here = avx512::first_lanes(left);
      front = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(here), at);
      back = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(here >> 8), at + 32);
    }
    store(pair.columns + kFour * four, _mm512_and_si512(front, column_));
    store(pair.columns + kFour * four + 32, _mm512_and_si512(back, column_));
    store(pair.digits + four, table_.look_up(_mm512_permutex2var_epi8(front, even_, back)));
  }

  const QuadView& view_;
  const DigitTable<kCodeBits> table_;
  const V even_, column_;
  const std::uint16_t* const end_;
};

struct Sums {
  V k[4];

  Sums() : k{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()} {}

  void add_to(std::uint8_t* to) const {
    for (std::size_t i = 0; i < 4; ++i) store(to + 64 * i, _mm512_add_epi32(load(to + 64 * i), k[i]));
  }
};

// The lowest 16 bits, by one instruction: compilers would join it with an address's shift and need more.
inline std::uint64_t low_16(std::uint64_t bits) {
  std::uint64_t low;
  asm("movzwl %w1, %k0" : "=r"(low) : "r"(bits));
  return low;
}

template <unsigned kCodeBits>
inline V column_at(const std::uint8_t* x, std::uint64_t column) {
  if constexpr (kCodeBits == 8) return load(x + (column >> 2));
  return load(x + (column << (kCodeBits == 8 ? 0 : 6 - kCodeBits)));
}

// All four columns by one load: a load that waits for the address of another is dear.
template <unsigned kCodeBits>
inline void add_four(Sums& sums, const std::uint8_t* x, const std::uint16_t* columns, std::uint32_t digits) {
  std::uint64_t four;
  std::memcpy(&four, columns, sizeof four);
  const V a = column_at<kCodeBits>(x, low_16(four)), b = column_at<kCodeBits>(x, low_16(four >> 16));
  const V c = column_at<kCodeBits>(x, low_16(four >> 32)), d = column_at<kCodeBits>(x, four >> 48);
  const V weights = _mm512_set1_epi32(static_cast<int>(digits));
  const V ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
  const V cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);
  sums.k[0] = _mm512_dpbusd_epi32(sums.k[0], _mm512_unpacklo_epi16(ab_low, cd_low), weights);
  sums.k[1] = _mm512_dpbusd_epi32(sums.k[1], _mm512_unpackhi_epi16(ab_low, cd_low), weights);
  sums.k[2] = _mm512_dpbusd_epi32(sums.k[2], _mm512_unpacklo_epi16(ab_high, cd_high), weights);
  sums.k[3] = _mm512_dpbusd_epi32(sums.k[3], _mm512_unpackhi_epi16(ab_high, cd_high), weights);
}

template <unsigned kCodeBits>
inline void add_fours(Sums& sums, const Pair& pair, std::size_t first, std::size_t last, const std::uint8_t* x) {
  for (; first < last; ++first) add_four<kCodeBits>(sums, x, pair.columns + kFour * first, pair.digits[first]);
}

inline std::uint8_t* sums_of(const Run& run, std::uint8_t* sums) {
  return sums + run.row * kVectors * sizeof(std::int32_t);
}

// Two runs side by side, since one alone waits for its sums.
template <unsigned kCodeBits>
inline void multiply_two(const Pair& pair, const std::uint8_t* x, std::uint8_t* sums) {
  const std::size_t first = pair.runs[0].fours, second = pair.runs[1].fours, both = at_most(first, second);
  Sums one, two;
  const std::uint16_t *columns = pair.columns, *columns_two = columns + kFour * first;
  const std::uint32_t *digits = pair.digits, *digits_two = digits + first;
  for (std::size_t i = 0; i < both; ++i) {
    add_four<kCodeBits>(one, x, columns + kFour * i, digits[i]);
    add_four<kCodeBits>(two, x, columns_two + kFour * i, digits_two[i]);
  }
  add_fours<kCodeBits>(one, pair, both, first, x);
  add_fours<kCodeBits>(two, pair, first + both, first + second, x);
  one.add_to(sums_of(pair.runs[0], sums));
  two.add_to(sums_of(pair.runs[1], sums));
}

template <unsigned kCodeBits>
inline void multiply(const Pair& pair, const std::uint8_t* x, std::uint8_t* sums) {
  if (pair.count == kSide) return multiply_two<kCodeBits>(pair, x, sums);
  Sums one;
  add_fours<kCodeBits>(one, pair, 0, pair.runs[0].fours, x);
  one.add_to(sums_of(pair.runs[0], sums));
}

template <unsigned kCodeBits>
void run_panel(const QuadTask& task, std::size_t panel, std::uint8_t* sums) {
  const QuadView& view = *task.view;
  std::memset(sums, 0, sum_rows(view) * kVectors * sizeof(std::int32_t));
  const Finder<kCodeBits> finder(view);
  Groups<1> groups(view, panel);
  Pair pairs[2];
  Pair *now = pairs, *then = pairs + 1;
  for (std::size_t block = 0; block < view.blocks; ++block) {
    const std::uint8_t* const x = block_at(view, block, task.prepared, kVectors).prepared;
    groups.enter_segment();
    for (bool more = finder.next(groups, *now); more; std::swap(now, then)) {
      more = finder.next(groups, *then);
      multiply<kCodeBits>(*now, x, sums);
    }
  }
  avx512::finish_quad(task, panel, sums);
}

void run(const QuadTask& task, std::size_t panel, std::uint8_t* sums) {
  by_code_bits(task.view->header, [&](auto code_bits) { run_panel<code_bits()>(task, panel, sums); });
}

}  // namespace

constinit const QuadKernel kQuadAvx512{kVectors, kVectors, kVectors * sizeof(std::int32_t), avx512::prepare_quad, run};

}  // namespace dcz
