// Helpers of the AVX2 kernels of the form `window`. `vpshufb` looks up a step's places in byte planes of x: 8 tables of
// 16 bytes are the window of 128. A gather would take longer for one byte, and as long for four.
//
// A register of 32 bytes holds half a step: 8 rows of 4 slots. Integers take them by row, since neighbours are summed.
// Floats take them by slot: unpacking four byte planes then gives 8 rows of one slot. A transposition of 4 x 4 bytes
// leads from one to the other, so every kernel reads places in either order.
//
// All of this has internal linkage: code for lesser CPUs must not share functions compiled for AVX2.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "packed/window/kernel.hpp"

namespace dcz::avx2 {

Scan scan(const float* x, std::size_t columns);
std::size_t prepared_bytes(const WindowTask& task);
void prepare(const WindowTask& task, std::size_t first_vector, std::size_t last_vector);
void run_floats(const WindowTask& task, std::size_t first_group, std::size_t last_group);
void run_integers(const WindowTask& task, std::size_t first_group, std::size_t last_group);

namespace {

using Wide = __m256i;

constexpr std::size_t kMostVectors = 8, kHalves = 2, kHalfRows = 8, kHalfSlots = 32;

inline Wide load(const void* from) { return _mm256_loadu_si256(static_cast<const Wide*>(from)); }
inline void store(void* to, Wide value) { _mm256_storeu_si256(static_cast<Wide*>(to), value); }
inline Wide bytes(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }

// 16 bytes in both halves of a register.
inline Wide twice(const void* from) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(from)));
}

// by_row <-> by_slot.
inline Wide transposed(Wide places) {
  return _mm256_shuffle_epi8(places, _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                                                      0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
}

// Byte planes of a vector: x8 one, signed; x24 three, little-endian, the top one signed; floats their four.
inline std::size_t planes_of(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::floats ? 4 : arithmetic == Arithmetic::x8 ? 1 : 3;
}

inline std::size_t plane_bytes(const WindowTask& task) { return task.view->blocks * kBlockElements; }

// A step's 64 bytes, 8 rows in each half. Both are looked up together: each table is loaded once.
struct Step {
  Wide half[kHalves];
};

template <typename Make>
Step each_half(const Make& make) {
  return {{make(std::size_t{0}), make(std::size_t{1})}};
}

// The indices of a look-up: the low four bits, and each further bit on top of its byte.
struct Index {
  Step low, bit4, bit5, bit6, bit7;
};

inline Index index_of(const Step& values) {
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

// The places of a step, whose top bits do not matter, and its codes, both in the order kWanted.
template <unsigned kCodeBits, WindowLayout kFound, WindowLayout kWanted>
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
    codes.half[i] = kWanted == WindowLayout::by_row ? code : transposed(code);
  }
}

// kVectors: 1, with sums in registers, or the most.
template <typename Kernel, unsigned kCodeBits, WindowLayout kFound, std::size_t kVectors>
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
        read_step<kCodeBits, kFound, Kernel::kWanted>(view.stream + pair * view.pair_bytes, step, places, codes);
        const auto weights = kernel.weights(codes);
        const Index at = index_of(places);
        const std::uint8_t* window = task.prepared + view.start(2 * pair + step) * kBlockElements;
        for (std::size_t v = 0; v < vectors; ++v, window += stride) kernel.add(window, plane, at, weights, sums[v]);
      }
    }
    for (std::size_t v = 0; v < vectors; ++v) Kernel::settle(sums[v], totals[v]);
  }
  each_row(task, group, [&](std::size_t lane, std::uint32_t row, float bias) {
    for (std::size_t v = 0; v < vectors; ++v) {
      task.y[v * view.header.rows + row] = Kernel::finish(task, v, totals[v][lane], bias);
    }
  });
}

template <typename Kernel, unsigned kCodeBits, WindowLayout kFound>
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

// Kernel: a template by code bits.
template <template <unsigned> typename Kernel>
void run_layout(const WindowTask& task, std::size_t first, std::size_t last) {
  by_layout<WindowLayout::by_row, WindowLayout::by_slot>(*task.view, [&](auto code_bits, auto layout) {
    run_groups<Kernel<code_bits()>, code_bits(), layout()>(task, first, last);
  });
}

}  // namespace
}  // namespace dcz::avx2
