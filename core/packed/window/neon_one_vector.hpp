// The form `window` with NEON, in integers, for one vector: what neon_integers.hpp computes, with fewer instructions.
//
// A group is multiplied some quarters at a time, so that their sums, digits and places stay in registers beside one
// table of x. `tbx` joins both tables of a window.
#pragma once

#include "packed/window/neon_integers.hpp"

namespace dcz {
namespace {

// The products of kX planes of x and kDigits planes of digits that count: those of the powers of 256 from kFirst on.
template <typename Products, std::size_t kX, std::size_t kDigits, std::size_t kFirst, unsigned kCodeBits,
          WindowLayout kOrder>
class OneVector {
 public:
  // The exact sums of a group's rows.
  static void sum(const WindowTask& task, std::size_t group, std::int64_t* totals) {
    put_offsets<kX, kDigits>(*task.view, group, totals);
    for (std::size_t part = 0; part < kQuarters; part += kPart) {
      sum_part(task, group, part, totals + part * kQuarterRows);
    }
  }

 private:
  static constexpr std::size_t kPowers = kX + kDigits - 1 - kFirst;
  // quarters at a time
  static constexpr std::size_t kPart = kX == 1 || (kDigits == 1 && !Products::kJoins) ? 4 : 2;

  using Sums = typename Products::Sums[kPowers][kPart];
  using Part = IntegerQuarter<kDigits>[kPart];

  [[gnu::flatten]] static void sum_part(const WindowTask& task, std::size_t group, std::size_t part,
                                        std::int64_t* totals) {
    const WindowView& view = *task.view;
    const std::size_t plane_bytes = elements_of(task);
    Sums sums{};
    for (std::size_t pair = view.first_pair(group), last = view.last_pair(group); pair < last; ++pair) {
      const std::uint8_t* const stream = view.stream + pair * view.pair_bytes;
      unrolled<2>([&](auto step) {
        const std::uint8_t* const window = task.prepared + view.start(2 * pair + step) * kBlockElements;
        Part read;
        unrolled<kPart>(
            [&](auto at) { read[at] = read_integers<kCodeBits, kOrder, kDigits>(view, stream, step, part + at); });
        add_step(window, plane_bytes, read, sums);
      });
    }
    std::int64_t unit = std::int64_t{1} << (8 * kFirst);
    for (const auto& power : sums) {
      for (std::size_t at = 0; at < kPart; ++at) {
        std::int32_t rows[kQuarterRows];
        vst1q_s32(rows, Products::rows(power[at]));
        for (std::size_t row = 0; row < kQuarterRows; ++row) totals[at * kQuarterRows + row] += unit * rows[row];
      }
      unit *= 256;
    }
  }

  static void add_step(const std::uint8_t* window, std::size_t plane_bytes, const Part& read, Sums& sums) {
    int8x16_t x[kX][kPart];
    unrolled<kX>([&](auto plane) {
      find(window + plane * plane_bytes, read, x[plane]);
      if constexpr (!Products::kJoins) {
        unrolled<kDigits>([&](auto digit) {
          if constexpr (plane() + digit() >= kFirst) {
            unrolled<kPart>([&](auto at) {
              Products::add(sums[plane + digit - kFirst][at], x[plane][at], read[at].digits[digit]);
            });
          }
        });
      }
    });
    if constexpr (Products::kJoins) {
      unrolled<kPowers>([&](auto power) {
        unrolled<kPart>([&](auto at) { add_power<power() + kFirst>(x, read[at], at, sums[power][at]); });
      });
    }
  }

  // The highest digits of a codebook are at least -127: 16 bits hold one of their products and another one.
  template <std::size_t kPower>
  static void add_power(const int8x16_t (&x)[kX][kPart], const IntegerQuarter<kDigits>& read, std::size_t at,
                        typename Products::Sums& sums) {
    constexpr std::size_t kTop = kDigits - 1;
    constexpr bool kJoined = kDigits > 1 && kPower >= kTop && kPower - kTop + 1 < kX;
    if constexpr (kJoined) {
      Products::add_two(sums, x[kPower - kTop][at], read.digits[kTop], x[kPower - kTop + 1][at], read.digits[kTop - 1]);
    }
    unrolled<kDigits>([&](auto digit) {
      constexpr bool kCounts = kPower >= digit() && kPower - digit() < kX;
      if constexpr (kCounts && !(kJoined && digit() + 1 >= kTop)) {
        Products::add(sums, x[kPower - digit][at], read.digits[digit]);
      }
    });
  }

  // The elements of a plane of x at the places of a part.
  static void find(const std::uint8_t* bytes, const Part& read, int8x16_t* x) {
    uint8x16_t found[kPart];
    const uint8x16x4_t first = vld1q_u8_x4(bytes);
    unrolled<kPart>([&](auto at) { found[at] = vqtbl4q_u8(first, read[at].places); });
    const uint8x16x4_t second = vld1q_u8_x4(bytes + kBlockElements);
    unrolled<kPart>([&](auto at) { x[at] = vreinterpretq_s8_u8(vqtbx4q_u8(found[at], second, read[at].further)); });
  }
};

template <typename Products, std::size_t kX, std::size_t kDigits, std::size_t kFirst, unsigned kCodeBits,
          WindowLayout kOrder>
void run_groups(const WindowTask& task, std::size_t first, std::size_t last) {
  for (std::size_t group = first; group < last; ++group) {
    if constexpr (kDigits < 3) {
      if (task.vectors > 1) {
        run_many<Products, kX, kDigits, kCodeBits, kOrder>(task, group);
        continue;
      }
    }
    std::int64_t totals[kStepRows];
    OneVector<Products, kX, kDigits, kFirst, kCodeBits, kOrder>::sum(task, group, totals);
    put_rows<kDigits>(task, group, 0, totals);
  }
}

template <typename Products, unsigned kCodeBits, WindowLayout kOrder>
void run_arithmetic(const WindowTask& task, std::size_t first, std::size_t last) {
  switch (task.arithmetic) {
    case Arithmetic::x24w8:
      return run_groups<Products, 3, 1, 0, kCodeBits, kOrder>(task, first, last);
    case Arithmetic::x24w16:
      return run_groups<Products, 3, 2, 0, kCodeBits, kOrder>(task, first, last);
    case Arithmetic::x24w24:
      return run_groups<Products, 3, 3, 1, kCodeBits, kOrder>(task, first, last);
    case Arithmetic::x24w24_short:
      return run_groups<Products, 3, 3, 2, kCodeBits, kOrder>(task, first, last);
    default:
      return run_groups<Products, 1, 1, 0, kCodeBits, kOrder>(task, first, last);
  }
}

template <typename Products>
void run_integers(const WindowTask& task, std::size_t first, std::size_t last) {
  by_slots(*task.view,
           [&](auto code_bits, auto order) { run_arithmetic<Products, code_bits(), order()>(task, first, last); });
}

}  // namespace
}  // namespace dcz
