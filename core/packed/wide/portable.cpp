// The form `wide` in portable C++: what it computes, slot by slot.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "common/bits.hpp"
#include "packed/wide/kernel.hpp"

namespace dcz {
namespace {

// Pairs whose sums are added to the totals at once: floats would lose digits in one long chain of sums.
constexpr std::size_t kSettle = 64;

std::size_t prepared_bytes(const WideTask& task) { return task.view->blocks * kBlockElements * sizeof(float); }

// A vector in blocks, as floats or as integers.
template <typename T>
T* blocks_of(const WideTask& task) {
  return reinterpret_cast<T*>(task.prepared);
}

void prepare(const WideTask& task) {
  std::memset(task.prepared, 0, prepared_bytes(task));
  const float per_step = 1 / task.step;
  for (std::size_t column = 0; column < task.view->header.columns; ++column) {
    const std::size_t at = column / kBlockColumns * kBlockElements + column % kBlockColumns;
    if (task.arithmetic == WideArithmetic::floats) {
      blocks_of<float>(task)[at] = task.x[column];
    } else {
      blocks_of<std::int32_t>(task)[at] = static_cast<std::int32_t>(std::lrintf(task.x[column] * per_step));
    }
  }
}

// The most rows of a group.
constexpr std::size_t kMostRows = 2 * kStepRows;

// take(lane, step, place, code) for each slot of a pair.
template <typename Take>
void visit_slots(const WideView& view, std::size_t pair, const Take& take) {
  const std::uint8_t* const places = view.stream + pair * view.stream_bytes;
  const std::uint8_t* const codes = places + 2 * kStepSlots;
  const unsigned code_bits = view.header.code_bits, mask = view.two_windows() ? 127 : 255;
  for (std::size_t step = 0; step < 2; ++step) {
    const std::uint64_t fifths = code_bits == 5 ? load_le64(view.fifths + 8 * (2 * pair + step)) : 0;
    for (std::size_t i = 0; i < kStepSlots; ++i) {
      const std::size_t code = code_bits == 8 ? std::size_t{codes[step * kStepSlots + i]}
                                              : (codes[i] >> (4 * step) & 15u) | (fifths >> i & 1) << 4;
      take(i / 4 + (view.two_windows() ? 0 : step * kStepRows), step, places[step * kStepSlots + i] & mask, code);
    }
  }
}

// The sums of a group's lanes, in whatever type does not lose them.
template <typename Value, typename Sum, typename Product>
std::array<Sum, kMostRows> sums_of(const WideTask& task, std::size_t group, const Product& product) {
  const WideView& view = *task.view;
  std::array<Sum, kMostRows> totals{};
  for (std::size_t pair = view.first_pair(group); pair < view.last_pair(group);) {
    std::array<std::array<Sum, kMostRows>, 2> sums{};
    for (const std::size_t settled = std::min(pair + kSettle, view.last_pair(group)); pair < settled; ++pair) {
      const Value* const windows[] = {blocks_of<Value>(task) + view.start(pair, 0) * kBlockElements,
                                      blocks_of<Value>(task) + view.start(pair, 1) * kBlockElements};
      visit_slots(view, pair, [&](std::size_t lane, std::size_t step, std::size_t place, std::size_t code) {
        sums[step][lane] += product(windows[step][place], code);
      });
    }
    for (std::size_t lane = 0; lane < kMostRows; ++lane) totals[lane] += sums[0][lane] + sums[1][lane];
  }
  return totals;
}

template <typename Sum, typename Finish>
void put_rows(const WideTask& task, std::size_t group, const std::array<Sum, kMostRows>& sums, const Finish& finish) {
  for (std::size_t lane = 0; lane < task.view->group_rows; ++lane) {
    const std::uint32_t row = task.view->order[group * task.view->group_rows + lane];
    if (row < task.view->header.rows) task.y[row] = finish(sums[lane], task.bias ? task.bias[row] : 0);
  }
}

// The lowest balanced digit.
std::int64_t lowest(std::int64_t number) { return static_cast<std::int8_t>(static_cast<std::uint8_t>(number)); }

// The integer of a code, from its digits.
std::array<std::int64_t, 256> integers_of(const WideView& view, const WideDigits& digits) {
  std::array<std::int64_t, 256> integers{};
  for (std::size_t code = 0; code < std::size_t{1} << view.header.code_bits; ++code) {
    for (std::size_t i = digits.count; i-- > 0;) {
      integers[code] = 256 * integers[code] + view.digit_plane(digits.first + i)[code];
    }
  }
  return integers;
}

void run(const WideTask& task, std::size_t first, std::size_t last) {
  const WideView& view = *task.view;
  if (task.arithmetic == WideArithmetic::floats) {
    for (std::size_t group = first; group < last; ++group) {
      const auto sums = sums_of<float, float>(
          task, group, [&](float value, std::size_t code) { return value * view.codebook[code]; });
      put_rows(task, group, sums, [](float sum, float bias) { return sum + bias; });
    }
    return;
  }
  const WideDigits digits =
      task.arithmetic == WideArithmetic::x8 ? WideDigits{0, 1, view.header.scale8} : view.digits24();
  const auto integers = integers_of(view, digits);
  for (std::size_t group = first; group < last; ++group) {
    // unsigned: of spoilt bytes the sums may wrap
    const auto sums = sums_of<std::int32_t, std::uint64_t>(task, group, [&](std::int64_t value, std::size_t code) {
      const std::int64_t left_out = counts(digits.count, 0, 0) ? 0 : lowest(value) * lowest(integers[code]);
      return static_cast<std::uint64_t>(value * integers[code] - left_out);
    });
    put_rows(task, group, sums, [&](std::uint64_t sum, float bias) {
      return finish_integer(static_cast<double>(static_cast<std::int64_t>(sum)), task.step, digits.scale, bias);
    });
  }
}

Scan scan(const float* x, std::size_t columns) { return kWindowPortable.scan(x, columns); }

}  // namespace

constinit const WideKernel kWidePortable{scan, prepared_bytes, prepare, run};

}  // namespace dcz
