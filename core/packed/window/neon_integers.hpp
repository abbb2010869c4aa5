// The form `window` with NEON, in integers: neon_long.cpp and neon_dot.cpp say how bytes are multiplied.
//
// x and the digits are signed bytes, and each plane of x is multiplied by each plane of digits. `tbl` finds 16 bytes in
// a table of 64. A window of 128 is two tables; each gives zeros for the places of the other. By the published
// throughputs of a Cortex-A76 or Neoverse-N1, with two pipes for vectors, `tbl` of four registers is 3 operations: 7
// for 16 places with the `orr`. `tbl` and `tbx` would be 8 and wait longer. With `sdot`, 64 slots take those pipes 22
// cycles with x8, 54 with x24w8 and 62 with x24w16. benchmarks/results/neon_instructions.json counts the instructions.
#pragma once

#include <algorithm>

#include "packed/window/neon.hpp"

namespace dcz {
namespace {

// by_row <-> by_slot.
inline uint8x16_t transposed(uint8x16_t places) {
  const uint8x16_t order = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  return vqtbl1q_u8(places, order);
}

// From a table of 64 bytes; zeros behind it.
inline uint8x16_t look_up_64(uint8x16x4_t table, uint8x16_t at) { return vqtbl4q_u8(table, at); }

inline uint8x16_t behind(uint8x16_t at, std::uint8_t bytes) { return vsubq_u8(at, vdupq_n_u8(bytes)); }

// From a table of 16, 32 or 256 digits.
template <unsigned kCodeBits>
inline int8x16_t look_up_digits(const std::int8_t* digits, uint8x16_t codes) {
  const auto* const table = reinterpret_cast<const std::uint8_t*>(digits);
  if constexpr (kCodeBits == 4) {
    return vreinterpretq_s8_u8(vqtbl1q_u8(vld1q_u8(table), codes));
  } else if constexpr (kCodeBits == 5) {
    return vreinterpretq_s8_u8(vqtbl2q_u8(vld1q_u8_x2(table), codes));
  } else {
    const uint8x16_t low =
        vorrq_u8(look_up_64(vld1q_u8_x4(table), codes), look_up_64(vld1q_u8_x4(table + 64), behind(codes, 64)));
    const uint8x16_t high = vorrq_u8(look_up_64(vld1q_u8_x4(table + 128), behind(codes, 128)),
                                     look_up_64(vld1q_u8_x4(table + 192), behind(codes, 192)));
    return vreinterpretq_s8_u8(vorrq_u8(low, high));
  }
}

// kX planes of x by kDigits planes of digits. Products of equal weight, 256^i, share a sum. A row has at most 65536
// survivors (kIntegerColumns), so 32 bits hold the sum of two such products of bytes; in x24w24, which has three digits
// and at most kColumns24 survivors, of three.
template <typename Products, std::size_t kX, std::size_t kDigits>
struct IntegerSums {
  typename Products::Sums weight[kX + kDigits - 1][kQuarters];
};

template <std::size_t kDigits>
struct IntegerQuarter {
  uint8x16_t places, further;  // in the first and the second block of the window
  int8x16_t digits[kDigits];
};

// In a spoilt stream, places whose top bit is set are in neither block and find zeros.
template <unsigned kCodeBits, WindowLayout kOrder, std::size_t kDigits>
inline IntegerQuarter<kDigits> read_integers(const WindowView& view, const std::uint8_t* pair, std::size_t step,
                                             std::size_t quarter) {
  IntegerQuarter<kDigits> found;
  const uint8x16_t raw = vld1q_u8(pair + step * kStepSlots + quarter * kQuarterSlots);
  const uint8x16_t masked = kCodeBits == 5 ? vandq_u8(raw, vdupq_n_u8(127)) : raw;
  found.places = kOrder == WindowLayout::by_slot ? transposed(masked) : masked;
  found.further = behind(found.places, kBlockElements);
  const uint8x16_t codes = read_codes<kCodeBits>(pair, step, quarter, raw);
  unrolled<kDigits>([&](auto plane) {
    const std::size_t number = kDigits == 1 ? 0 : plane + 1;
    found.digits[plane] = look_up_digits<kCodeBits>(view.digit_plane(number), codes);
  });
  return found;
}

// The elements of a plane of x at 16 places, from the tables of its window.
template <std::size_t kDigits>
inline int8x16_t find_x(uint8x16x4_t first, uint8x16x4_t second, const IntegerQuarter<kDigits>& at) {
  return vreinterpretq_s8_u8(vorrq_u8(look_up_64(first, at.places), look_up_64(second, at.further)));
}

// Adds a step to the sums of all vectors.
template <unsigned kCodeBits, WindowLayout kOrder, typename Products, std::size_t kX, std::size_t kDigits>
inline void add_integer_step(const WindowView& view, const std::uint8_t* pair, std::size_t step,
                             const std::uint8_t* window, std::size_t plane_bytes, std::size_t vectors,
                             IntegerSums<Products, kX, kDigits>* sums) {
  IntegerQuarter<kDigits> read[kQuarters];
  unrolled<kQuarters>(
      [&](auto quarter) { read[quarter] = read_integers<kCodeBits, kOrder, kDigits>(view, pair, step, quarter); });
  for (std::size_t v = 0; v < vectors; ++v, window += kX * plane_bytes) {
    unrolled<kX>([&](auto plane) {
      const std::uint8_t* const bytes = window + plane * plane_bytes;
      const uint8x16x4_t first = vld1q_u8_x4(bytes), second = vld1q_u8_x4(bytes + kBlockElements);
      unrolled<kQuarters>([&](auto quarter) {
        const int8x16_t x = find_x(first, second, read[quarter]);
        unrolled<kDigits>(
            [&](auto digit) { Products::add(sums[v].weight[plane + digit][quarter], x, read[quarter].digits[digit]); });
      });
    });
  }
}

// Planes of x of which two are reduced: what that takes from the sums of a group's rows.
template <std::size_t kX, std::size_t kDigits>
inline void put_offsets(const WindowView& view, std::size_t group, std::int64_t* totals) {
  for (std::size_t lane = 0; lane < kStepRows; ++lane) {
    const std::size_t at = group * kStepRows + lane;
    totals[lane] = 0;
    if constexpr (kX == 1 || kDigits == 3) continue;
    const std::int64_t digits =
        kDigits == 1 ? view.sum_plane(0)[at] : view.sum_plane(1)[at] + std::int64_t{256} * view.sum_plane(2)[at];
    totals[lane] = kPlaneOffset24 * digits;
  }
}

// The exact sums of a group's rows.
template <typename Products, std::size_t kX, std::size_t kDigits>
inline void total_rows(const WindowView& view, std::size_t group, const IntegerSums<Products, kX, kDigits>& sums,
                       std::int64_t* totals) {
  put_offsets<kX, kDigits>(view, group, totals);
  std::int64_t unit = 1;
  for (const auto& weight : sums.weight) {
    for (std::size_t quarter = 0; quarter < kQuarters; ++quarter) {
      std::int32_t rows[kQuarterRows];
      vst1q_s32(rows, Products::rows(weight[quarter]));
      for (std::size_t row = 0; row < kQuarterRows; ++row) totals[quarter * kQuarterRows + row] += unit * rows[row];
    }
    unit *= 256;
  }
}

// y of a group's rows from their exact sums.
template <std::size_t kDigits>
inline void put_rows(const WindowTask& task, std::size_t group, std::size_t vector, const std::int64_t* totals) {
  const WindowView& view = *task.view;
  const float scale = kDigits == 1 ? view.header.scale8 : view.header.scale16;
  each_row(task, group, [&](std::size_t lane, std::uint32_t row, float bias) {
    task.y[vector * view.header.rows + row] =
        finish_integer(static_cast<double>(totals[lane]), task.steps[vector], scale, bias);
  });
}

template <typename Products, std::size_t kX, std::size_t kDigits, unsigned kCodeBits, WindowLayout kOrder>
[[gnu::flatten]] void run_many(const WindowTask& task, std::size_t group) {
  const WindowView& view = *task.view;
  IntegerSums<Products, kX, kDigits> sums[kMostVectors]{};
  for (std::size_t pair = view.first_pair(group), last = view.last_pair(group); pair < last; ++pair) {
    unrolled<2>([&](auto step) {
      const std::uint8_t* const window = task.prepared + view.start(2 * pair + step) * kBlockElements;
      add_integer_step<kCodeBits, kOrder>(view, view.stream + pair * view.pair_bytes, step, window, elements_of(task),
                                          task.vectors, sums);
    });
  }
  for (std::size_t v = 0; v < task.vectors; ++v) {
    std::int64_t totals[kStepRows];
    total_rows(view, group, sums[v], totals);
    put_rows<kDigits>(task, group, v, totals);
  }
}

}  // namespace
}  // namespace dcz
