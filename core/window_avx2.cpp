// The form `window` with AVX2 and FMA. x is kept as byte planes, which a step's places look up by `vpshufb`: 8 tables
// of 16 bytes are the window of 128. A gather would take longer for one byte, and not less for four.
//
// Vectors of 32 bytes hold half a step: 8 rows of 4 slots. Integers want them by row, since neighbours are summed;
// floats by slot, since unpacking four byte planes then gives 8 rows of one slot. Both are a transposition of 4 x 4
// bytes apart, so every kernel takes either SlotOrder.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "window_kernel.hpp"

namespace dcz {
namespace {

using Wide = __m256i;

constexpr std::size_t kMostVectors = 8, kHalves = 2, kHalfRows = 8, kHalfSlots = 32;

Wide load(const void* from) { return _mm256_loadu_si256(static_cast<const Wide*>(from)); }
void store(void* to, Wide value) { _mm256_storeu_si256(static_cast<Wide*>(to), value); }
Wide bytes(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }

// 16 bytes in both halves of a register.
Wide twice(const void* from) { return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(from))); }

// by_row <-> by_slot.
Wide transposed(Wide places) {
  return _mm256_shuffle_epi8(places, _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                                                      0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
}

Scan scan(const float* x, std::size_t columns) {
  const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 largest = _mm256_setzero_ps(), squares[2] = {largest, largest}, all = _mm256_castsi256_ps(bytes(-1));
  const auto take = [&](__m256 value, __m256& sum) {
    const __m256 magnitude = _mm256_and_ps(value, no_sign);
    largest = _mm256_max_ps(largest, magnitude);
    sum = _mm256_fmadd_ps(value, value, sum);
    all = _mm256_and_ps(all, _mm256_cmp_ps(magnitude, _mm256_set1_ps(3.4028235e38f), _CMP_LE_OQ));
  };
  std::size_t i = 0;
  for (; i + 16 <= columns; i += 16) {
    take(_mm256_loadu_ps(x + i), squares[0]);
    take(_mm256_loadu_ps(x + i + 8), squares[1]);
  }
  for (; i < columns; i += 8) {
    std::array<float, 8> rest{};
    std::copy(x + i, x + std::min(i + 8, columns), rest.begin());
    take(_mm256_loadu_ps(rest.data()), squares[0]);
  }
  std::array<float, 8> most, sums;
  _mm256_storeu_ps(most.data(), largest);
  _mm256_storeu_ps(sums.data(), _mm256_add_ps(squares[0], squares[1]));
  Scan found{0, 0, _mm256_movemask_ps(all) == 0xff};
  for (std::size_t lane = 0; lane < 8; ++lane) {
    found.largest = std::max(found.largest, most[lane]);
    found.squares += sums[lane];
  }
  return found;
}

// Byte planes of a vector: x8 one, signed; x24 three, little-endian, the top one signed; floats their four.
std::size_t planes_of(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::floats ? 4 : arithmetic == Arithmetic::x8 ? 1 : 3;
}

std::size_t plane_bytes(const WindowTask& task) { return task.view->blocks * kBlockElements; }

std::size_t prepared_bytes(const WindowTask& task) {
  return task.vectors * planes_of(task.arithmetic) * plane_bytes(task);
}

// 32 elements of 4 bytes -> 32 bytes of each plane.
void split(const Wide (&elements)[4], std::size_t count, std::uint8_t* out, std::size_t stride) {
  // the bytes of 4 elements side by side, so that a dword holds a plane of 4 elements
  Wide quads[4];
  for (std::size_t i = 0; i < 4; ++i) quads[i] = transposed(elements[i]);
  const Wide low01 = _mm256_unpacklo_epi32(quads[0], quads[1]), low23 = _mm256_unpacklo_epi32(quads[2], quads[3]);
  const Wide high01 = _mm256_unpackhi_epi32(quads[0], quads[1]), high23 = _mm256_unpackhi_epi32(quads[2], quads[3]);
  const Wide found[4]{_mm256_unpacklo_epi64(low01, low23), _mm256_unpackhi_epi64(low01, low23),
                      _mm256_unpacklo_epi64(high01, high23), _mm256_unpackhi_epi64(high01, high23)};
  const Wide natural = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (std::size_t plane = 0; plane < count; ++plane) {
    store(out + plane * stride, _mm256_permutevar8x32_epi32(found[plane], natural));
  }
}

void prepare_vector(const WindowTask& task, std::size_t v) {
  const std::size_t columns = task.view->header.columns, stride = plane_bytes(task);
  const float* const x = task.x + v * columns;
  std::uint8_t* const out = task.prepared + v * planes_of(task.arithmetic) * stride;
  const bool floats = task.arithmetic == Arithmetic::floats;
  const __m256 per_step = _mm256_set1_ps(1 / task.steps[v]);
  for (std::size_t block = 0; block < task.view->blocks; ++block) {
    alignas(32) std::array<float, kBlockElements> elements{};
    const std::size_t begin = std::min(block * kBlockColumns, columns);
    std::copy(x + begin, x + std::min(begin + kBlockColumns, columns), elements.begin());
    for (std::size_t i = 0; i < kBlockElements; i += 32) {
      Wide parts[4];
      for (std::size_t part = 0; part < 4; ++part) {
        const __m256 values = _mm256_load_ps(elements.data() + i + 8 * part);
        parts[part] = floats ? _mm256_castps_si256(values) : _mm256_cvtps_epi32(_mm256_mul_ps(values, per_step));
      }
      split(parts, planes_of(task.arithmetic), out + block * kBlockElements + i, stride);
    }
  }
}

void prepare(const WindowTask& task, std::size_t first, std::size_t last) {
  for (std::size_t v = first; v < last; ++v) prepare_vector(task, v);
}

// A step's 64 bytes, for 8 rows each. They are looked up together, so that each table is loaded once.
struct Step {
  Wide half[kHalves];
};

template <typename Make>
Step each_half(const Make& make) {
  return {{make(std::size_t{0}), make(std::size_t{1})}};
}

// Places or codes as look-ups take them: the low four bits, and each further bit on top of its byte.
struct Index {
  Step low, bit4, bit5, bit6, bit7;
};

Index index_of(const Step& values) {
  return {each_half([&](auto i) { return _mm256_and_si256(values.half[i], bytes(15)); }),
          each_half([&](auto i) { return _mm256_slli_epi16(values.half[i], 3); }),
          each_half([&](auto i) { return _mm256_slli_epi16(values.half[i], 2); }),
          each_half([&](auto i) { return _mm256_slli_epi16(values.half[i], 1); }), values};
}

// The bytes of a table of 16, 32, 64, 128 or 256.
template <std::size_t kEntries>
Wide look_up_half(const std::uint8_t* entries, const Index& at, std::size_t i) {
  if constexpr (kEntries == 16) {
    return _mm256_shuffle_epi8(twice(entries), at.low.half[i]);
  } else {
    const Wide below = look_up_half<kEntries / 2>(entries, at, i);
    const Wide above = look_up_half<kEntries / 2>(entries + kEntries / 2, at, i);
    const Step& bit = kEntries == 32 ? at.bit4 : kEntries == 64 ? at.bit5 : kEntries == 128 ? at.bit6 : at.bit7;
    return _mm256_blendv_epi8(below, above, bit.half[i]);
  }
}

template <std::size_t kEntries>
Step look_up(const void* table, const Index& at) {
  return each_half([&](auto i) { return look_up_half<kEntries>(static_cast<const std::uint8_t*>(table), at, i); });
}

// The places of a step, their top bits to be ignored, and its codes, both in the wanted order.
template <unsigned kCodeBits, SlotOrder kFound, SlotOrder kWanted>
void read_step(const std::uint8_t* pair, std::size_t step, Step& places, Step& codes) {
  for (std::size_t i = 0; i < kHalves; ++i) {
    const Wide stored = load(pair + step * kStepSlots + i * kHalfSlots);
    const std::uint8_t* const at = pair + 2 * kStepSlots + i * kHalfSlots;
    Wide code = load(kCodeBits == 8 ? at + step * kStepSlots : at);
    if constexpr (kCodeBits != 8) {
      code = _mm256_and_si256(step == 0 ? code : _mm256_srli_epi16(code, 4), bytes(15));
    }
    if constexpr (kCodeBits == 5) {
      code = _mm256_or_si256(code, _mm256_and_si256(_mm256_srli_epi16(stored, 3), bytes(16)));
    }
    places.half[i] = kFound == kWanted ? stored : transposed(stored);
    codes.half[i] = kWanted == SlotOrder::by_row ? code : transposed(code);
  }
}

// Floats: sums in float32 -------------------------------------------------------------------------------------------

struct FloatSlots {
  __m256 slot[4];  // of 8 rows
};

FloatSlots join(Wide plane0, Wide plane1, Wide plane2, Wide plane3) {
  const Wide low01 = _mm256_unpacklo_epi8(plane0, plane1), low23 = _mm256_unpacklo_epi8(plane2, plane3);
  const Wide high01 = _mm256_unpackhi_epi8(plane0, plane1), high23 = _mm256_unpackhi_epi8(plane2, plane3);
  return {{_mm256_castsi256_ps(_mm256_unpacklo_epi16(low01, low23)),
           _mm256_castsi256_ps(_mm256_unpackhi_epi16(low01, low23)),
           _mm256_castsi256_ps(_mm256_unpacklo_epi16(high01, high23)),
           _mm256_castsi256_ps(_mm256_unpackhi_epi16(high01, high23))}};
}

template <unsigned kCodeBits>
class Floats {
 public:
  static constexpr SlotOrder kWanted = SlotOrder::by_slot;
  static constexpr std::size_t kSettle = std::size_t{1} << 62;

  explicit Floats(const WindowTask& task) : codebook_(task.view->codebook) {
    for (std::size_t i = 0; i < kCentroids; ++i) {
      for (std::size_t plane = 0; plane < 4; ++plane) {
        std::memcpy(&planes_[plane * kCentroids + i], reinterpret_cast<const std::uint8_t*>(codebook_ + i) + plane, 1);
      }
    }
  }

  struct Weights {
    FloatSlots half[kHalves];
  };

  struct Sums {
    __m256 half[kHalves]{_mm256_setzero_ps(), _mm256_setzero_ps()};
  };

  Weights weights(const Step& codes) const {
    if constexpr (kCodeBits == 8) return {{gathered(codes.half[0]), gathered(codes.half[1])}};
    return joined<kCentroids>(planes_.data(), kCentroids, index_of(codes));
  }

  void add(const std::uint8_t* window, std::size_t plane_bytes, const Index& places, const Weights& weights,
           Sums& sums) const {
    const Weights x = joined<2 * kBlockElements>(window, plane_bytes, places);
    for (std::size_t i = 0; i < kHalves; ++i) {
      for (std::size_t slot = 0; slot < 4; ++slot) {
        sums.half[i] = _mm256_fmadd_ps(x.half[i].slot[slot], weights.half[i].slot[slot], sums.half[i]);
      }
    }
  }

  using Totals = std::array<float, kGroupRows>;

  static void settle(Sums& sums, Totals& totals) {
    for (std::size_t i = 0; i < kHalves; ++i) _mm256_storeu_ps(totals.data() + i * kHalfRows, sums.half[i]);
  }

  static float finish(const WindowTask&, std::size_t, float total, float bias) { return total + bias; }

 private:
  static constexpr std::size_t kCentroids = std::size_t{1} << kCodeBits;

  template <std::size_t kEntries>
  static Weights joined(const std::uint8_t* planes, std::size_t plane_bytes, const Index& at) {
    const Step plane0 = look_up<kEntries>(planes, at), plane1 = look_up<kEntries>(planes + plane_bytes, at);
    const Step plane2 = look_up<kEntries>(planes + 2 * plane_bytes, at);
    const Step plane3 = look_up<kEntries>(planes + 3 * plane_bytes, at);
    return {{join(plane0.half[0], plane1.half[0], plane2.half[0], plane3.half[0]),
             join(plane0.half[1], plane1.half[1], plane2.half[1], plane3.half[1])}};
  }

  FloatSlots gathered(Wide codes) const {
    const Wide by_row = transposed(codes), byte = _mm256_set1_epi32(255);
    const auto slot = [&](int bits) {
      return _mm256_i32gather_ps(codebook_, _mm256_and_si256(_mm256_srli_epi32(by_row, bits), byte), 4);
    };
    return {{slot(0), slot(8), slot(16), slot(24)}};
  }

  const float* codebook_;
  alignas(32) std::array<std::uint8_t, 4 * kCentroids> planes_;
};

// Integers: exact ---------------------------------------------------------------------------------------------------

using Integers = std::array<std::int64_t, kGroupRows>;

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

// Sums of products of halfwords, of two neighbours each.
class Products {
 public:
  void add(const Halfwords& x, const Halfwords& weights) {
    low_ = _mm256_add_epi32(low_, _mm256_madd_epi16(x.low, weights.low));
    high_ = _mm256_add_epi32(high_, _mm256_madd_epi16(x.high, weights.high));
  }

  // Adds `unit` times the sum of each of the 8 rows, and begins anew.
  void settle(std::int64_t unit, std::int64_t* totals) {
    alignas(32) std::array<std::int32_t, kHalfRows> rows;
    store(rows.data(), _mm256_hadd_epi32(low_, high_));
    for (std::size_t row = 0; row < kHalfRows; ++row) totals[row] += unit * rows[row];
    low_ = high_ = _mm256_setzero_si256();
  }

 private:
  Wide low_ = _mm256_setzero_si256(), high_ = _mm256_setzero_si256();
};

// x of 8 bits by digits of 8. `vpmaddubsw` takes one side unsigned: that is the magnitude of x, and the digit takes its
// sign. Neither passes 127, so two products stay within 16 bits.
template <unsigned kCodeBits>
class X8 {
 public:
  static constexpr SlotOrder kWanted = SlotOrder::by_row;
  static constexpr std::size_t kSettle = 8192;  // pairs whose 8 products a row, below 2^14 each, stay within 32 bits

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

// x of 24 bits, as 16 signed ones above 8 unsigned ones, by digits of 8 bits, or of 16 as 8 signed ones above 8.
template <unsigned kCodeBits, bool kWide>
class X24 {
 public:
  static constexpr SlotOrder kWanted = SlotOrder::by_row;
  static constexpr std::size_t kSettle = 32;  // pairs whose 4 products a sum, below 2^23 each, stay within 30 bits

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

// Groups ------------------------------------------------------------------------------------------------------------

// kVectors: 1, whose sums stay in registers, or the most.
template <typename Kernel, unsigned kCodeBits, SlotOrder kFound, std::size_t kVectors>
[[gnu::flatten]] void run_group(const WindowTask& task, const Kernel& kernel, std::size_t group) {
  const WindowView& view = *task.view;
  const std::size_t vectors = kVectors == 1 ? 1 : task.vectors;
  const std::size_t plane = plane_bytes(task), stride = planes_of(task.arithmetic) * plane;
  typename Kernel::Sums sums[kVectors];
  typename Kernel::Totals totals[kVectors]{};
  const std::size_t last = view.last_pair(group);
  for (std::size_t pair = view.first_pair(group); pair < last;) {
    for (const std::size_t settled = std::min(last, pair + std::min(Kernel::kSettle, last - pair)); pair < settled;
         ++pair) {
      for (std::size_t step = 0; step < 2; ++step) {
        Step places, codes;
        read_step<kCodeBits, kFound, Kernel::kWanted>(view.stream + pair * view.stream_bytes, step, places, codes);
        const auto weights = kernel.weights(codes);
        const Index at = index_of(places);
        const std::uint8_t* window = task.prepared + view.start(2 * pair + step) * kBlockElements;
        for (std::size_t v = 0; v < vectors; ++v, window += stride) kernel.add(window, plane, at, weights, sums[v]);
      }
    }
    for (std::size_t v = 0; v < vectors; ++v) Kernel::settle(sums[v], totals[v]);
  }
  for (std::size_t lane = 0; lane < kGroupRows; ++lane) {
    const std::uint32_t row = view.order[group * kGroupRows + lane];
    if (row >= view.header.rows) continue;
    const float bias = task.bias ? task.bias[row] : 0;
    for (std::size_t v = 0; v < vectors; ++v) {
      task.y[v * view.header.rows + row] = Kernel::finish(task, v, totals[v][lane], bias);
    }
  }
}

template <typename Kernel, unsigned kCodeBits, SlotOrder kFound>
void run_groups(const WindowTask& task, std::size_t first, std::size_t last) {
  const Kernel kernel(task);
  for (std::size_t group = first; group < last; ++group) {
    if (task.vectors == 1) {
      run_group<Kernel, kCodeBits, kFound, 1>(task, kernel, group);
    } else {
      run_group<Kernel, kCodeBits, kFound, kMostVectors>(task, kernel, group);
    }
  }
}

template <typename Kernel, unsigned kCodeBits>
void run_order(const WindowTask& task, std::size_t first, std::size_t last) {
  if (task.view->slots() == SlotOrder::by_slot)
    return run_groups<Kernel, kCodeBits, SlotOrder::by_slot>(task, first, last);
  run_groups<Kernel, kCodeBits, SlotOrder::by_row>(task, first, last);
}

template <unsigned kCodeBits>
void run_arithmetic(const WindowTask& task, std::size_t first, std::size_t last) {
  switch (task.arithmetic) {
    case Arithmetic::x8:
      return run_order<X8<kCodeBits>, kCodeBits>(task, first, last);
    case Arithmetic::x24w8:
      return run_order<X24<kCodeBits, false>, kCodeBits>(task, first, last);
    case Arithmetic::x24w16:
      return run_order<X24<kCodeBits, true>, kCodeBits>(task, first, last);
    default:
      return run_order<Floats<kCodeBits>, kCodeBits>(task, first, last);
  }
}

void run(const WindowTask& task, std::size_t first, std::size_t last) {
  switch (task.view->header.code_bits) {
    case 4:
      return run_arithmetic<4>(task, first, last);
    case 5:
      return run_arithmetic<5>(task, first, last);
    default:
      return run_arithmetic<8>(task, first, last);
  }
}

}  // namespace

constinit const WindowKernel kWindowAvx2{
    {kMostVectors, kMostVectors, kMostVectors, kMostVectors}, scan, prepared_bytes, prepare, run};

}  // namespace dcz
