// Helpers of the AVX-512 kernels of the form `window`. Only their files, all compiled for the same instructions, may
// include this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "packed/avx512.hpp"
#include "packed/window/kernel.hpp"

namespace dcz::avx512 {

// A load that stays an instruction of its own, in its place. Compilers join it with the instruction that uses it.
// Kernels that load about as often as they compute then take a fifth longer on Zen 5.
inline V load_apart(const void* from) {
  V value;
  asm("vmovdqu64 %1, %0" : "=v"(value) : "m"(*static_cast<const char (*)[64]>(from)));
  return value;
}

template <bool kApart>
inline V load(const void* from) {
  return kApart ? load_apart(from) : load(from);
}

// Pairs are fetched so many bytes ahead. A call reads each once, so they need not push other bytes out of the second
// cache.
inline constexpr std::size_t kAhead = 3072;

inline void prefetch_pair(const std::uint8_t* pair, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(pair + kAhead + i), _MM_HINT_NTA);
  }
}

// Exchanges slots and rows, 4 x 4 bytes within each 16: from either order of places to the other.
inline V transpose(V places) {
  return _mm512_shuffle_epi8(
      places, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
}

// The bytes of a pair in the stream.
constexpr std::size_t pair_bytes(unsigned code_bits) { return code_bits == 8 ? 256 : 192; }

// The two steps of a pair. The low bits of a code byte are the code; the bits above do not matter.
struct Steps {
  V places[2], codes[2];
};

// `kTransposed`: the places are not in the kernel's order. `fifths`: of this pair.
template <unsigned kCodeBits, bool kTransposed, bool kOneWindow = false, bool kApart = false>
inline Steps read_steps(const std::uint8_t* pair, const std::uint8_t* fifths) {
  Steps s;
  s.places[0] = load<kApart>(pair);
  s.places[1] = load<kApart>(pair + kStepSlots);
  s.codes[0] = load<kApart>(pair + 2 * kStepSlots);
  if constexpr (kCodeBits == 8) {
    s.codes[1] = load<kApart>(pair + 3 * kStepSlots);
  } else {
    s.codes[1] = _mm512_srli_epi16(s.codes[0], 4);
  }
  if constexpr (kCodeBits == 5) {
    const V low = _mm512_set1_epi8(15);
    for (unsigned half = 0; half < 2; ++half) {
      V& codes = s.codes[half];
      if constexpr (kOneWindow) {
        std::uint64_t fifth;
        std::memcpy(&fifth, fifths + 8 * half, sizeof fifth);
        codes = _mm512_and_si512(codes, low);
        codes = _mm512_mask_add_epi8(codes, fifth, codes, _mm512_set1_epi8(16));
      } else {
        // the second where the first is 1, else the third
        constexpr int kSelect = 0xca;
        codes = _mm512_ternarylogic_epi32(low, codes, _mm512_srli_epi16(s.places[half], 3), kSelect);
      }
    }
  }
  if constexpr (kTransposed) {
    for (V& places : s.places) places = transpose(places);
  }
  return s;
}

// A plane of a window: its blocks, so many bytes apart.
template <bool kOneWindow, bool kApart = false>
struct Window {
  static constexpr unsigned kBlocks = kOneWindow ? 4 : 2;
  V blocks[kBlocks];

  Window(const std::uint8_t* plane, std::size_t block_bytes) {
#pragma GCC unroll 4
    for (unsigned i = 0; i < kBlocks; ++i) blocks[i] = load<kApart>(plane + i * block_bytes);
  }
  V look_up(V places) const {
    const V low = _mm512_permutex2var_epi8(blocks[0], places, blocks[1]);
    if constexpr (kOneWindow) {
      const V high = _mm512_permutex2var_epi8(blocks[2], places, blocks[3]);
      return _mm512_mask_blend_epi8(_mm512_movepi8_mask(places), low, high);
    } else {
      return low;
    }
  }
};

// A table of 256 bytes by 64 indices.
inline V look_up_256(const std::uint8_t* table, V index) {
  const V low = _mm512_permutex2var_epi8(load(table), index, load(table + 64));
  const V high = _mm512_permutex2var_epi8(load(table + 128), index, load(table + 192));
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
}

// A plane of digits, looked up by codes.
template <unsigned kCodeBits>
class DigitTable {
 public:
  DigitTable() = default;
  explicit DigitTable(const std::int8_t* digits) { set(digits); }
  void set(const std::int8_t* digits) {
    // once for each value of the bits above a code
    for (unsigned i = 0; i < sizeof table_; ++i) table_[i] = digits[i % (1u << kCodeBits)];
  }
  V look_up(V codes) const {
    if constexpr (kCodeBits == 8) return look_up_256(reinterpret_cast<const std::uint8_t*>(table_), codes);
    return _mm512_permutexvar_epi8(codes, load(table_));
  }

 private:
  alignas(64) std::int8_t table_[kCodeBits == 8 ? 256 : 64];
};

// 64 numbers of 32 bits -> a plane of their lowest bytes, one of the next, and so on.
inline void split_planes(const V (&numbers)[4], V (&planes)[4]) {
  alignas(64) static constexpr auto kEven = [] {
    struct {
      std::uint8_t low[64], high[64];
    } table{};
    for (unsigned i = 0; i < 32; ++i) {
      table.low[i] = static_cast<std::uint8_t>(4 * i);
      table.low[32 + i] = static_cast<std::uint8_t>(4 * i + 1);
      table.high[i] = static_cast<std::uint8_t>(4 * i + 2);
      table.high[32 + i] = static_cast<std::uint8_t>(4 * i + 3);
    }
    return table;
  }();
  for (unsigned i = 0; i < 2; ++i) {
    const V index = load(i == 0 ? kEven.low : kEven.high);
    const V first = _mm512_permutex2var_epi8(numbers[0], index, numbers[1]);
    const V second = _mm512_permutex2var_epi8(numbers[2], index, numbers[3]);
    planes[2 * i] = _mm512_shuffle_i64x2(first, second, 0x44);
    planes[2 * i + 1] = _mm512_shuffle_i64x2(first, second, 0xee);
  }
}

// The columns of a block that exist.
inline __mmask64 columns_of(const WindowView& view, std::size_t block) {
  const std::size_t before = block * kBlockColumns, columns = view.header.columns;
  if (before >= columns) return 0;
  const std::size_t left = columns - before;
  return (std::uint64_t{1} << (left < kBlockColumns ? left : kBlockColumns)) - 1;
}

// The columns of a block, zeros behind them.
inline void load_block(const float* x, std::size_t block, __mmask64 columns, __m512 (&numbers)[4]) {
  for (unsigned i = 0; i < 4; ++i) {
    numbers[i] = _mm512_maskz_loadu_ps(static_cast<__mmask16>(columns >> (16 * i)), x + block * kBlockColumns + 16 * i);
  }
}

// Results into y. Neighbours in a group are apart in y.

// The lanes with a row among the 16 from lane 16 * sixteen on.
inline __mmask16 rows_of(const WindowTask& task, std::size_t sixteen) {
  const V order = load(task.view->order + sixteen * kStepRows);
  return _mm512_cmplt_epu32_mask(order, _mm512_set1_epi32(static_cast<int>(task.view->header.rows)));
}

// Their bias.
inline __m512 bias_of(const WindowTask& task, std::size_t sixteen) {
  if (!task.bias) return _mm512_setzero_ps();
  const V rows = load(task.view->order + sixteen * kStepRows);
  return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), rows_of(task, sixteen), rows, task.bias, 4);
}

// Their results -> their rows of y, one by one: a scatter takes longer.
inline void put_rows(const WindowTask& task, std::size_t sixteen, __m512 sums, float* y) {
  alignas(64) float results[kStepRows];
  _mm512_store_ps(results, sums);
  const std::uint32_t* const rows = task.view->order + sixteen * kStepRows;
  const __mmask16 there = rows_of(task, sixteen);
  if (there == 0xffff) {
#pragma GCC unroll 16
    for (std::size_t lane = 0; lane < kStepRows; ++lane) y[rows[lane]] = results[lane];
  } else {
    for (std::size_t lane = 0; lane < kStepRows; ++lane) {
      if (there >> lane & 1) y[rows[lane]] = results[lane];
    }
  }
}

// Keeps the results of several vectors side by side for each row until all rows are done: written to y at once, each
// element would miss the cache.
inline void put_side_by_side(const WindowTask& task, std::size_t group, __m512 (&results)[16], std::size_t vectors,
                             float* by_row) {
  transpose(results);
  const auto some = static_cast<__mmask16>((1u << vectors) - 1);
  const __mmask16 there = rows_of(task, group);
#pragma GCC unroll 16
  for (std::size_t lane = 0; lane < kStepRows; ++lane) {
    if (there >> lane & 1) {
      _mm512_mask_storeu_ps(by_row + task.view->order[group * kStepRows + lane] * vectors, some, results[lane]);
    }
  }
}

// From there to y, the rows first to last - 1.
inline void put_apart(const float* by_row, std::size_t vectors, std::size_t first, std::size_t last, float* y,
                      std::size_t rows) {
  const auto some = static_cast<__mmask16>((1u << vectors) - 1);
  for (std::size_t row = first; row < last; row += 16) {
    const std::size_t count = last - row < 16 ? last - row : 16;
    __m512 results[16];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < 16; ++i) {
      results[i] = i < count ? _mm512_maskz_loadu_ps(some, by_row + (row + i) * vectors) : _mm512_setzero_ps();
    }
    transpose(results);
    const auto these = static_cast<__mmask16>((1u << count) - 1);
#pragma GCC unroll 16
    for (std::size_t v = 0; v < 16; ++v) {
      if (v < vectors) _mm512_mask_storeu_ps(y + v * rows + row, these, results[v]);
    }
  }
}

// In avx512_floats.cpp, avx512_integers.cpp and avx512_one_vector.cpp.
std::size_t prepared_bytes_floats(const WindowTask& task);
std::size_t prepared_bytes_integers(const WindowTask& task);
void prepare_floats(const WindowTask& task, std::size_t first, std::size_t last);
void prepare_integers(const WindowTask& task, std::size_t first, std::size_t last);
void run_floats(const WindowTask& task, std::size_t first, std::size_t last);
void run_integers(const WindowTask& task, std::size_t first, std::size_t last);
void run_one_vector(const WindowTask& task, std::size_t first, std::size_t last);
void finish_integers(const WindowTask& task, std::size_t first_row, std::size_t last_row);

}  // namespace dcz::avx512
