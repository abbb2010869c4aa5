// The form `window` with AVX2: exact sums of integers.
#include "packed/window/avx2.hpp"

namespace dcz::avx2 {
namespace {

using Integers = std::array<std::int64_t, kStepRows>;

// 32 bytes as 16 bits each: of rows 0, 1, 4 and 5 and of rows 2, 3, 6 and 7.
struct Halfwords {
  Wide low, high;
};

Halfwords together(Wide low_bytes, Wide high_bytes) {
  return {_mm256_unpacklo_epi8(low_bytes, high_bytes), _mm256_unpackhi_epi8(low_bytes, high_bytes)};
}

Halfwords with_sign(Wide values) {
  const Halfwords above = together(_mm256_setzero_si256(), values);
  return {_mm256_srai_epi16(above.low, 8), _mm256_srai_epi16(above.high, 8)};
}

// Sums of products of halfwords: each sum has two neighbours.
class Products {
 public:
  void add(const Halfwords& x, const Halfwords& weights) {
    low_ = _mm256_add_epi32(low_, _mm256_madd_epi16(x.low, weights.low));
    high_ = _mm256_add_epi32(high_, _mm256_madd_epi16(x.high, weights.high));
  }

  // Adds `unit` times the sum of each of the 8 rows, and resets the sums.
  void settle(std::int64_t unit, std::int64_t* totals) {
    alignas(32) std::array<std::int32_t, kHalfRows> rows;
    store(rows.data(), _mm256_hadd_epi32(low_, high_));
    for (std::size_t row = 0; row < kHalfRows; ++row) totals[row] += unit * rows[row];
    low_ = high_ = _mm256_setzero_si256();
  }

 private:
  Wide low_ = _mm256_setzero_si256(), high_ = _mm256_setzero_si256();
};

// x of 8 bits by digits of 8. One side of `vpmaddubsw` is unsigned: the magnitude of x. The digit takes the sign of x.
// Neither passes 127, so two products stay within 16 bits.
template <unsigned kCodeBits>
class X8 {
 public:
  static constexpr WindowLayout kWanted = WindowLayout::by_row;
  static constexpr std::size_t kSettle = 8192;  // pairs: 8 products a row, below 2^14 each, stay within 32 bits

  explicit X8(const WindowTask& task) : digits_(task.view->digit_plane(0)) {}

  using Weights = Step;
  using Totals = Integers;

  struct Sums {
    Wide half[kHalves]{_mm256_setzero_si256(), _mm256_setzero_si256()};
  };

  Weights weights(const Step& codes) const { return look_up<std::size_t{1} << kCodeBits>(digits_, index_of(codes)); }

  void add(const std::uint8_t* window, std::size_t, const Index& places, const Weights& weights, Sums& sums) const {
    const Step x = look_up<2 * kBlockElements>(window, places);
    for (std::size_t i = 0; i < kHalves; ++i) {
      const Wide signs = _mm256_sign_epi8(weights.half[i], x.half[i]);
      const Wide twos = _mm256_maddubs_epi16(_mm256_abs_epi8(x.half[i]), signs);
      sums.half[i] = _mm256_add_epi32(sums.half[i], _mm256_madd_epi16(twos, _mm256_set1_epi16(1)));
    }
  }

  static void settle(Sums& sums, Totals& totals) {
    for (std::size_t i = 0; i < kHalves; ++i) {
      alignas(32) std::array<std::int32_t, kHalfRows> rows;
      store(rows.data(), sums.half[i]);
      for (std::size_t row = 0; row < kHalfRows; ++row) totals[i * kHalfRows + row] += rows[row];
    }
    sums = {};
  }

  static float finish(const WindowTask& task, std::size_t vector, std::int64_t total, float bias) {
    return finish_integer(static_cast<double>(total), task.steps[vector], task.view->header.scale8, bias);
  }

 private:
  const std::int8_t* digits_;
};

// x of 24 bits, 16 signed ones above 8 unsigned ones, by digits of 8 bits, or of 16: 8 signed ones above 8.
template <unsigned kCodeBits, bool kWide>
class X24 {
 public:
  static constexpr WindowLayout kWanted = WindowLayout::by_row;
  static constexpr std::size_t kSettle = 32;  // pairs: 4 products a sum, below 2^23 each, stay within 30 bits

  explicit X24(const WindowTask& task)
      : low_(task.view->digit_plane(kWide ? 1 : 0)), high_(task.view->digit_plane(kWide ? 2 : 0)) {}

  struct Weights {
    Halfwords whole[kHalves], low[kHalves], high[kHalves];
  };

  using Totals = Integers;

  struct Sums {
    Products bottom[kHalves], top_low[kHalves], top_high[kHalves];
  };

  Weights weights(const Step& codes) const {
    const Index at = index_of(codes);
    Weights found;
    const Step low = look_up<std::size_t{1} << kCodeBits>(low_, at);
    for (std::size_t i = 0; i < kHalves; ++i) found.whole[i] = found.low[i] = with_sign(low.half[i]);
    if constexpr (kWide) {
      const Step high = look_up<std::size_t{1} << kCodeBits>(high_, at);
      for (std::size_t i = 0; i < kHalves; ++i) {
        const Halfwords above = together(_mm256_setzero_si256(), high.half[i]);
        found.high[i] = with_sign(high.half[i]);
        found.whole[i] = {_mm256_add_epi16(above.low, found.low[i].low),
                          _mm256_add_epi16(above.high, found.low[i].high)};
      }
    }
    return found;
  }

  void add(const std::uint8_t* window, std::size_t plane_bytes, const Index& places, const Weights& weights,
           Sums& sums) const {
    const Step bottom = look_up<2 * kBlockElements>(window, places);
    for (std::size_t i = 0; i < kHalves; ++i) {
      sums.bottom[i].add(together(bottom.half[i], _mm256_setzero_si256()), weights.whole[i]);
    }
    const Step middle = look_up<2 * kBlockElements>(window + plane_bytes, places);
    const Step top = look_up<2 * kBlockElements>(window + 2 * plane_bytes, places);
    for (std::size_t i = 0; i < kHalves; ++i) {
      const Halfwords x = together(middle.half[i], top.half[i]);
      sums.top_low[i].add(x, weights.low[i]);
      if constexpr (kWide) sums.top_high[i].add(x, weights.high[i]);
    }
  }

  static void settle(Sums& sums, Totals& totals) {
    for (std::size_t i = 0; i < kHalves; ++i) {
      std::int64_t* const rows = totals.data() + i * kHalfRows;
      sums.bottom[i].settle(1, rows);
      sums.top_low[i].settle(256, rows);
      if constexpr (kWide) sums.top_high[i].settle(65536, rows);
    }
  }

  static float finish(const WindowTask& task, std::size_t vector, std::int64_t total, float bias) {
    const PackedHeader& header = task.view->header;
    return finish_integer(static_cast<double>(total), task.steps[vector], kWide ? header.scale16 : header.scale8, bias);
  }

 private:
  const std::int8_t *low_, *high_;
};

template <unsigned kCodeBits>
using X24W8 = X24<kCodeBits, false>;
template <unsigned kCodeBits>
using X24W16 = X24<kCodeBits, true>;

}  // namespace

void run_integers(const WindowTask& task, std::size_t first, std::size_t last) {
  switch (task.arithmetic) {
    case Arithmetic::x8:
      return run_layout<X8>(task, first, last);
    case Arithmetic::x24w8:
      return run_layout<X24W8>(task, first, last);
    default:
      return run_layout<X24W16>(task, first, last);
  }
}

}  // namespace dcz::avx2
