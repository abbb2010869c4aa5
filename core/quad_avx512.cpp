// The form `quad` with AVX-512, in integers: a register holds a column of 64 vectors, a byte each.
//
// Four columns, interleaved by unpacking, have four bytes for each vector, which `vpdpbusd` multiplies by four digits
// and adds to its sum. Unpacking stays within 16 bytes: the sums of vector 16 * k + 4 * l + e are in register k, lane
// 4 * l + e, if its byte is number 16 * l + 4 * k + e of a column, and so it is.
#include <immintrin.h>

#include "quad_walk.hpp"

namespace dcz {
namespace {

constexpr std::size_t kVectors = 64, kLanes = 16;
using V = __m512i;

inline V load(const void* from) { return _mm512_load_si512(from); }
inline void store(void* to, V value) { _mm512_store_si512(to, value); }

inline __mmask16 first_lanes(std::size_t count) {
  return count >= kLanes ? __mmask16{0xffff} : static_cast<__mmask16>((1u << count) - 1);
}

// Rows become columns.
inline void transpose(V (&r)[16]) {
  V t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    for (int half = 0; half < 2; ++half) {
      const V a = t[4 * i + half], b = t[4 * i + 2 + half];
      r[4 * i + 2 * half] = _mm512_unpacklo_epi64(a, b);
      r[4 * i + 2 * half + 1] = _mm512_unpackhi_epi64(a, b);
    }
  }
  for (int i = 0; i < 4; ++i) {
    for (int half = 0; half < 2; ++half) {
      const V a = r[8 * half + i], b = r[8 * half + 4 + i];
      t[8 * half + i] = _mm512_shuffle_i32x4(a, b, 0x88);
      t[8 * half + 4 + i] = _mm512_shuffle_i32x4(a, b, 0xdd);
    }
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
  }
}

// The lowest bytes of one vector's fixed point where the lowest bytes of others are kept.
template <int kByte>
inline V put_byte(V bytes, V number) {
  constexpr auto kThere = static_cast<__mmask64>(0x1111111111111111u << kByte);
  return _mm512_mask_mov_epi8(bytes, kThere, _mm512_slli_epi32(number, 8 * kByte));
}

// A vector of the task, or zeros for one that there is not.
struct Source {
  const float* x;
  float per_step;
};

inline Source source_of(const QuadTask& task, std::size_t vector) {
  if (vector >= task.vectors) return {nullptr, 0};
  return {task.x + vector * task.view->header.columns, 1 / task.steps[vector]};
}

inline V fixed_point(const Source& source, std::size_t column, __mmask16 there) {
  if (!source.x) return _mm512_setzero_si512();
  const __m512 x = _mm512_maskz_loadu_ps(there, source.x + column);
  return _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(source.per_step)));
}

// Columns that are prepared at once: their bytes, four vectors to a lane, stay in the first cache.
constexpr std::size_t kChunk = 128;

// Four vectors, from `vector` on: their bytes side by side for each column.
inline void pack_four(const QuadTask& task, std::size_t vector, std::size_t column, std::size_t count, V* out) {
  const Source source[4] = {source_of(task, vector), source_of(task, vector + 1), source_of(task, vector + 2),
                            source_of(task, vector + 3)};
  const V offset = _mm512_set1_epi8(static_cast<char>(kOffset8));
  for (std::size_t done = 0; done < count; done += kLanes) {
    const __mmask16 there = first_lanes(count - done);
    V bytes = fixed_point(source[0], column + done, there);
    bytes = put_byte<1>(bytes, fixed_point(source[1], column + done, there));
    bytes = put_byte<2>(bytes, fixed_point(source[2], column + done, there));
    bytes = put_byte<3>(bytes, fixed_point(source[3], column + done, there));
    store(out + done / kLanes, _mm512_add_epi8(bytes, offset));
  }
}

void prepare(const QuadTask& task, std::size_t number) {
  const Block block = block_of(task, number, kVectors);
  alignas(64) V fours[16][kChunk / kLanes];
  for (std::size_t first = 0; first < block.count; first += kChunk) {
    const std::size_t count = at_most(block.count - first, kChunk);
    // four vectors -> 4 * l + k, the lane of the bytes 16 * l + 4 * k on
    for (std::size_t four = 0; four < 16; ++four) {
      pack_four(task, 4 * four, block.begin + first, count, fours[4 * (four % 4) + four / 4]);
    }
    for (std::size_t done = 0; done < count; done += kLanes) {
      V square[16];
      for (std::size_t i = 0; i < 16; ++i) square[i] = fours[i][done / kLanes];
      transpose(square);
      std::uint8_t* const out = block.prepared + (first + done) * kVectors;
      const std::size_t here = at_most(count - done, kLanes);
      for (std::size_t i = 0; i < 16; ++i) {
        if (i < here) store(out + i * kVectors, square[i]);
      }
    }
  }
  for (std::size_t column = block.count; column <= task.view->shape.block_columns; ++column) {
    store(block.prepared + column * kVectors, _mm512_setzero_si512());
  }
}

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

  // By the lowest 6 or 8 bits of entries, of which those that are no code do not matter.
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

// The digits of a run, four to a number, in whole registers.
struct RunDigits {
  alignas(64) std::uint32_t fours[(kMostFours + kLanes - 1) / kLanes * kLanes];

  template <unsigned kCodeBits>
  void find(const Run& run, const DigitTable<kCodeBits>& table, V low_bytes_of) {
    for (std::size_t four = 0; four < run.fours; four += kLanes) {
      const std::size_t left = run.fours - four;
      const auto here = static_cast<__mmask16>(first_lanes(left));
      const std::uint16_t* const at = run.entries + kFour * four;
      const V front = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(here), at);
      const V back = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(here >> 8), at + 32);
      store(fours + four, table.look_up(_mm512_permutex2var_epi8(front, low_bytes_of, back)));
    }
  }
};

inline V even_bytes() {
  alignas(64) std::uint8_t even[64];
  for (std::size_t i = 0; i < 64; ++i) even[i] = static_cast<std::uint8_t>(2 * i);
  return load(even);
}

struct Sums {
  V k[4];

  explicit Sums(const std::uint8_t* from) : k{load(from), load(from + 64), load(from + 128), load(from + 192)} {}

  void keep(std::uint8_t* to) const {
    for (std::size_t i = 0; i < 4; ++i) store(to + 64 * i, k[i]);
  }
};

// The column of entry number kNumber of four.
template <unsigned kCodeBits, unsigned kNumber>
inline V column_of(const std::uint8_t* x, std::uint64_t entries) {
  constexpr std::uint64_t kColumn = 0xffffu >> kCodeBits << kCodeBits;
  const std::uint64_t column = entries >> 16 * kNumber & kColumn;
  if constexpr (kCodeBits == 8) return load(x + (column >> 2));
  return load(x + (column << (kCodeBits == 8 ? 0 : 6 - kCodeBits)));
}

template <unsigned kCodeBits>
inline void add_four(Sums& sums, const std::uint8_t* x, const std::uint16_t* at, std::uint32_t digits) {
  std::uint64_t entries;
  std::memcpy(&entries, at, sizeof entries);
  const V a = column_of<kCodeBits, 0>(x, entries), b = column_of<kCodeBits, 1>(x, entries);
  const V c = column_of<kCodeBits, 2>(x, entries), d = column_of<kCodeBits, 3>(x, entries);
  const V weights = _mm512_set1_epi32(static_cast<int>(digits));
  const V ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
  const V cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);
  sums.k[0] = _mm512_dpbusd_epi32(sums.k[0], _mm512_unpacklo_epi16(ab_low, cd_low), weights);
  sums.k[1] = _mm512_dpbusd_epi32(sums.k[1], _mm512_unpackhi_epi16(ab_low, cd_low), weights);
  sums.k[2] = _mm512_dpbusd_epi32(sums.k[2], _mm512_unpacklo_epi16(ab_high, cd_high), weights);
  sums.k[3] = _mm512_dpbusd_epi32(sums.k[3], _mm512_unpackhi_epi16(ab_high, cd_high), weights);
}

// Two runs side by side, since one alone waits for its sums.
template <unsigned kCodeBits>
class Multiplier {
 public:
  Multiplier(const QuadView& view, std::uint8_t* sums) : table_(view), even_(even_bytes()), sums_(sums) {}

  void multiply(const Run& long_run, const Run& short_run, const std::uint8_t* x) {
    digits_[0].find(long_run, table_, even_);
    digits_[1].find(short_run, table_, even_);
    Sums first(sums_of(long_run)), second(sums_of(short_run));
    const std::size_t both = at_most(short_run.fours, long_run.fours);
    for (std::size_t i = 0; i < both; ++i) {
      add_four<kCodeBits>(first, x, long_run.entries + kFour * i, digits_[0].fours[i]);
      add_four<kCodeBits>(second, x, short_run.entries + kFour * i, digits_[1].fours[i]);
    }
    add_rest(first, long_run, both, 0, x);
    add_rest(second, short_run, both, 1, x);
    first.keep(sums_of(long_run));
    second.keep(sums_of(short_run));
  }

  // By itself: that an empty one stood beside it cost 5 % of the whole.
  void multiply(const Run& run, const std::uint8_t* x) {
    digits_[0].find(run, table_, even_);
    Sums sums(sums_of(run));
    add_rest(sums, run, 0, 0, x);
    sums.keep(sums_of(run));
  }

 private:
  std::uint8_t* sums_of(const Run& run) const { return sums_ + run.row * kVectors * sizeof(std::int32_t); }

  void add_rest(Sums& sums, const Run& run, std::size_t from, std::size_t which, const std::uint8_t* x) const {
    for (std::size_t i = from; i < run.fours; ++i) {
      add_four<kCodeBits>(sums, x, run.entries + kFour * i, digits_[which].fours[i]);
    }
  }

  const DigitTable<kCodeBits> table_;
  const V even_;
  std::uint8_t* const sums_;
  RunDigits digits_[2];
};

// As finish_integer.
inline __m512 results_of(V totals, double unit, __m512 bias) {
  const __m512d by = _mm512_set1_pd(unit);
  const __m256 low = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(totals)), by));
  const __m256 high = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(totals, 1)), by));
  return _mm512_add_ps(_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1), bias);
}

// The sums of a panel, row by row, to y, vector by vector.
void finish(const QuadTask& task, std::size_t panel, const std::uint8_t* sums) {
  const QuadView& view = *task.view;
  const PanelRows rows = rows_of(view, panel);
  for (std::size_t vector = 0; vector < task.vectors; vector += kLanes) {
    const std::size_t vectors = at_most(task.vectors - vector, kLanes);
    for (std::size_t row = 0; row < rows.count; row += kLanes) {
      const __mmask16 there = first_lanes(rows.count - row);
      const std::size_t at = rows.first + row;
      const __m512 bias = task.bias ? _mm512_maskz_loadu_ps(there, task.bias + at) : _mm512_setzero_ps();
      const V offset = _mm512_mullo_epi32(_mm512_maskz_loadu_epi32(there, view.sums + at), _mm512_set1_epi32(kOffset8));
      V square[16];
      for (std::size_t i = 0; i < 16; ++i) square[i] = load(sums + ((row + i) * kVectors + vector) * sizeof(int));
      transpose(square);
      for (std::size_t i = 0; i < 16; ++i) {
        if (i >= vectors) continue;
        const double unit = static_cast<double>(task.steps[vector + i]) * static_cast<double>(view.header.scale8);
        _mm512_mask_storeu_ps(task.y + (vector + i) * view.header.rows + at, there,
                              results_of(_mm512_sub_epi32(square[i], offset), unit, bias));
      }
    }
  }
}

template <unsigned kCodeBits>
void run_panel(const QuadTask& task, std::size_t panel, std::uint8_t* sums) {
  const QuadView& view = *task.view;
  std::memset(sums, 0, sum_rows(view) * kVectors * sizeof(std::int32_t));
  Multiplier<kCodeBits> multiplier(view, sums);
  Runs runs(view, panel);
  for (std::size_t block = 0; block < view.blocks; ++block) {
    const std::uint8_t* const x = block_of(task, block, kVectors).prepared;
    runs.enter_segment();
    for (Run first, second; runs.next(first);) {
      if (runs.next(second)) {
        multiplier.multiply(first, second, x);
      } else {
        multiplier.multiply(first, x);
      }
    }
  }
  finish(task, panel, sums);
}

void run(const QuadTask& task, std::size_t panel, std::uint8_t* sums) {
  switch (task.view->header.code_bits) {
    case 4:
      return run_panel<4>(task, panel, sums);
    case 5:
      return run_panel<5>(task, panel, sums);
    default:
      return run_panel<8>(task, panel, sums);
  }
}

}  // namespace

constinit const QuadKernel kQuadAvx512{kVectors, kVectors, kVectors * sizeof(std::int32_t), prepare, run};

}  // namespace dcz
