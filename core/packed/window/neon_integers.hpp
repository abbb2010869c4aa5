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
// and at most kColumns24 survivors, of three. There the product of both lowest digits is left out.
template <std::size_t kDigits>
inline constexpr bool kBalanced = kDigits == 3;

template <typename Products, std::size_t kX, std::size_t kDigits>
struct IntegerSums {
  static constexpr std::size_t kFirst = kBalanced<kDigits> ? 1 : 0, kWeights = kX + kDigits - 1 - kFirst;

  typename Products::Sums weight[kWeights][kQuarters];
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

// The same from memory, a table at a time: it takes half the registers.
template <std::size_t kDigits>
inline int8x16_t find_x(const std::uint8_t* bytes, const IntegerQuarter<kDigits>& at) {
  const uint8x16_t first = vqtbl4q_u8(vld1q_u8_x4(bytes), at.places);
  return vreinterpretq_s8_u8(vorrq_u8(first, vqtbl4q_u8(vld1q_u8_x4(bytes + kBlockElements), at.further)));
}

template <std::size_t kPlane, typename Products, std::size_t kX, std::size_t kDigits>
inline void add_products(int8x16_t x, const IntegerQuarter<kDigits>& read, std::size_t quarter,
                         IntegerSums<Products, kX, kDigits>& sums) {
  constexpr std::size_t kFirst = IntegerSums<Products, kX, kDigits>::kFirst;
  unrolled<kDigits>([&](auto digit) {
    if constexpr (kPlane + digit() >= kFirst) {
      Products::add(sums.weight[kPlane + digit - kFirst][quarter], x, read.digits[digit]);
    }
  });
}

// Adds a step to the sums of all vectors. With three digits a quarter is added before the next is read: the registers
// hold no more.
template <unsigned kCodeBits, WindowLayout kOrder, typename Products, std::size_t kX, std::size_t kDigits>
inline void add_integer_step(const WindowView& view, const std::uint8_t* pair, std::size_t step,
                             const std::uint8_t* window, std::size_t plane_bytes, std::size_t vectors,
                             IntegerSums<Products, kX, kDigits>* sums) {
  if constexpr (kBalanced<kDigits>) {
    unrolled<kQuarters>([&](auto quarter) {
      const auto read = read_integers<kCodeBits, kOrder, kDigits>(view, pair, step, quarter);
      const std::uint8_t* bytes = window;
      unrolled<kX>([&](auto plane) {
        add_products<plane()>(find_x(bytes, read), read, quarter, *sums);
        bytes += plane_bytes;
      });
    });
    return;
  }
  IntegerQuarter<kDigits> read[kQuarters];
  unrolled<kQuarters>(
      [&](auto quarter) { read[quarter] = read_integers<kCodeBits, kOrder, kDigits>(view, pair, step, quarter); });
  for (std::size_t v = 0; v < vectors; ++v, window += kX * plane_bytes) {
    unrolled<kX>([&](auto plane) {
      const std::uint8_t* const bytes = window + plane * plane_bytes;
      const uint8x16x4_t first = vld1q_u8_x4(bytes), second = vld1q_u8_x4(bytes + kBlockElements);
      unrolled<kQuarters>([&](auto quarter) {
        add_products<plane()>(find_x(first, second, read[quarter]), read[quarter], quarter, sums[v]);
      });
    });
  }
}

// The exact sums of a group's rows. Balanced digits of x have no offset.
template <typename Products, std::size_t kX, std::size_t kDigits>
inline void total_rows(const WindowView& view, std::size_t group, const IntegerSums<Products, kX, kDigits>& sums,
                       std::int64_t* totals) {
  for (std::size_t lane = 0; lane < kStepRows; ++lane) {
    const std::size_t at = group * kStepRows + lane;
    totals[lane] = 0;
    if (kX == 1 || kBalanced<kDigits>) continue;
    const std::int64_t digits =
        kDigits == 1 ? view.sum_plane(0)[at] : view.sum_plane(1)[at] + std::int64_t{256} * view.sum_plane(2)[at];
    totals[lane] = kPlaneOffset24 * digits;
  }
  std::int64_t unit = kBalanced<kDigits> ? 256 : 1;
  for (const auto& weight : sums.weight) {
    for (std::size_t quarter = 0; quarter < kQuarters; ++quarter) {
      std::int32_t rows[kQuarterRows];
      vst1q_s32(rows, Products::rows(weight[quarter]));
      for (std::size_t row = 0; row < kQuarterRows; ++row) totals[quarter * kQuarterRows + row] += unit * rows[row];
    }
    unit *= 256;
  }
}

// kVectors: 1, with sums in registers, or the most.
template <typename Products, std::size_t kX, std::size_t kDigits, unsigned kCodeBits, WindowLayout kOrder,
          std::size_t kVectors>
[[gnu::flatten]] void run_integer_group(const WindowTask& task, std::size_t group) {
  const WindowView& view = *task.view;
  const std::size_t vectors = kVectors == 1 ? 1 : task.vectors, plane_bytes = elements_of(task);
  IntegerSums<Products, kX, kDigits> sums[kVectors]{};
  for (std::size_t pair = view.first_pair(group), last = view.last_pair(group); pair < last; ++pair) {
    unrolled<2>([&](auto step) {
      const std::uint8_t* const window = task.prepared + view.start(2 * pair + step) * kBlockElements;
      add_integer_step<kCodeBits, kOrder>(view, view.stream + pair * view.pair_bytes, step, window, plane_bytes,
                                          vectors, sums);
    });
  }
  const float scale = kDigits == 1 ? view.header.scale8 : view.header.scale16;
  for (std::size_t v = 0; v < vectors; ++v) {
    std::int64_t totals[kStepRows];
    total_rows(view, group, sums[v], totals);
    each_row(task, group, [&](std::size_t lane, std::uint32_t row, float bias) {
      task.y[v * view.header.rows + row] =
          finish_integer(static_cast<double>(totals[lane]), task.steps[v], scale, bias);
    });
  }
}

template <typename Products, std::size_t kX, std::size_t kDigits, unsigned kCodeBits, WindowLayout kOrder>
void run_integer_groups(const WindowTask& task, std::size_t first, std::size_t last) {
  for (std::size_t group = first; group < last; ++group) {
    if (kBalanced<kDigits> || task.vectors == 1) {
      run_integer_group<Products, kX, kDigits, kCodeBits, kOrder, 1>(task, group);
    } else if constexpr (!kBalanced<kDigits>) {
      run_integer_group<Products, kX, kDigits, kCodeBits, kOrder, kMostVectors>(task, group);
    }
  }
}

template <typename Products, unsigned kCodeBits, WindowLayout kOrder>
void run_arithmetic(const WindowTask& task, std::size_t first, std::size_t last) {
  switch (task.arithmetic) {
    case Arithmetic::x24w8:
      return run_integer_groups<Products, 3, 1, kCodeBits, kOrder>(task, first, last);
    case Arithmetic::x24w16:
      return run_integer_groups<Products, 3, 2, kCodeBits, kOrder>(task, first, last);
    case Arithmetic::x24w24:
      return run_integer_groups<Products, 3, 3, kCodeBits, kOrder>(task, first, last);
    default:
      return run_integer_groups<Products, 1, 1, kCodeBits, kOrder>(task, first, last);
  }
}

template <typename Products>
void run_integers(const WindowTask& task, std::size_t first, std::size_t last) {
  by_slots(*task.view,
           [&](auto code_bits, auto order) { run_arithmetic<Products, code_bits(), order()>(task, first, last); });
}

}  // namespace
}  // namespace dcz
