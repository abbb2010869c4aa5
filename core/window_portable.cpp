// The form `window` in portable C++.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "window_kernel.hpp"

namespace dcz {
namespace {

Scan scan(const float* x, std::size_t columns) {
  Scan found{0, 0, true};
  for (std::size_t i = 0; i < columns; ++i) {
    const float magnitude = std::fabs(x[i]);
    found.largest = std::max(found.largest, magnitude);
    found.squares += x[i] * x[i];
    found.finite &= magnitude <= 3.4028235e38f;
  }
  return found;
}

// A vector, or its fixed-point form, in blocks.
std::size_t prepared_bytes(const WindowTask& task) {
  return task.vectors * task.view->blocks * kBlockElements * sizeof(float);
}

template <typename T>
T* vector_of(const WindowTask& task, std::size_t vector) {
  return reinterpret_cast<T*>(task.prepared) + vector * task.view->blocks * kBlockElements;
}

void prepare(const WindowTask& task, std::size_t first, std::size_t last) {
  const std::size_t columns = task.view->header.columns;
  for (std::size_t v = first; v < last; ++v) {
    const float* const x = task.x + v * columns;
    std::memset(vector_of<float>(task, v), 0, task.view->blocks * kBlockElements * sizeof(float));
    for (std::size_t block = 0; block < task.view->blocks; ++block) {
      const std::size_t begin = std::min(block * kBlockColumns, columns),
                        end = std::min(begin + kBlockColumns, columns);
      if (task.arithmetic == Arithmetic::floats) {
        std::copy(x + begin, x + end, vector_of<float>(task, v) + block * kBlockElements);
      } else {
        std::int32_t* const out = vector_of<std::int32_t>(task, v) + block * kBlockElements;
        const float per_step = 1 / task.steps[v];
        for (std::size_t i = begin; i < end; ++i)
          out[i - begin] = static_cast<std::int32_t>(std::lrintf(x[i] * per_step));
      }
    }
  }
}

// slot(lane, place, code) for the slots of one step.
template <unsigned kCodeBits, SlotOrder kOrder, typename Slot>
void visit_step(const std::uint8_t* pair, std::size_t half, const Slot& slot) {
  const std::uint8_t* const places = pair + half * kStepSlots;
  const std::uint8_t* const codes = pair + 2 * kStepSlots + (kCodeBits == 8 ? half * kStepSlots : 0);
  for (std::size_t lane = 0; lane < kGroupRows; ++lane) {
    for (std::size_t k = 0; k < 4; ++k) {
      const unsigned byte = codes[4 * lane + k];
      unsigned code = kCodeBits == 8 ? byte : half == 0 ? byte & 15 : byte >> 4;
      if (kCodeBits == 5) code |= (places[4 * lane + k] >> 7) << 4;
      slot(lane, places[place_of(kOrder, lane, k)] & 127u, code);
    }
  }
}

// Sums for one vector and one group; Value and Weight are float and float, or std::int32_t and its digits.
template <unsigned kCodeBits, SlotOrder kOrder, typename Value, typename Weight, typename Sum>
void add_group(const WindowView& view, std::size_t group, const Value* x, const Weight* weights,
               std::array<Sum, kGroupRows>& sums) {
  for (std::size_t pair = view.first_pair(group); pair < view.last_pair(group); ++pair) {
    for (std::size_t half = 0; half < 2; ++half) {
      const Value* const window = x + view.start(2 * pair + half) * kBlockElements;
      visit_step<kCodeBits, kOrder>(view.stream + pair * view.stream_bytes, half,
                                    [&](std::size_t lane, unsigned place, unsigned code) {
                                      sums[lane] += static_cast<Sum>(weights[code]) * static_cast<Sum>(window[place]);
                                    });
    }
  }
}

template <unsigned kCodeBits, SlotOrder kOrder>
void run_group(const WindowTask& task, std::size_t group, std::size_t v) {
  const WindowView& view = *task.view;
  float* const y = task.y + v * view.header.rows;
  std::array<double, kGroupRows> totals{};
  std::array<float, kGroupRows> floats{};
  const bool wide = task.arithmetic == Arithmetic::x24w16;
  if (task.arithmetic == Arithmetic::floats) {
    add_group<kCodeBits, kOrder>(view, group, vector_of<float>(task, v), view.codebook, floats);
  } else {
    std::array<std::int32_t, 256> digits{};
    for (std::size_t i = 0; i < (std::size_t{1} << kCodeBits); ++i) {
      digits[i] = wide ? 256 * view.digit_plane(2)[i] + view.digit_plane(1)[i] : view.digit_plane(0)[i];
    }
    std::array<std::int64_t, kGroupRows> sums{};
    add_group<kCodeBits, kOrder>(view, group, vector_of<std::int32_t>(task, v), digits.data(), sums);
    for (std::size_t lane = 0; lane < kGroupRows; ++lane) totals[lane] = static_cast<double>(sums[lane]);
  }
  for (std::size_t lane = 0; lane < kGroupRows; ++lane) {
    const std::uint32_t row = view.order[group * kGroupRows + lane];
    if (row >= view.header.rows) continue;
    const float bias = task.bias ? task.bias[row] : 0;
    y[row] = task.arithmetic == Arithmetic::floats
                 ? floats[lane] + bias
                 : finish_integer(totals[lane], task.steps[v], wide ? view.header.scale16 : view.header.scale8, bias);
  }
}

template <unsigned kCodeBits, SlotOrder kOrder>
void run_groups(const WindowTask& task, std::size_t first, std::size_t last) {
  for (std::size_t group = first; group < last; ++group) {
    for (std::size_t v = 0; v < task.vectors; ++v) run_group<kCodeBits, kOrder>(task, group, v);
  }
}

void run(const WindowTask& task, std::size_t first, std::size_t last) {
  const bool by_slot = task.view->slots() == SlotOrder::by_slot;
  switch (task.view->header.code_bits) {
    case 4:
      return by_slot ? run_groups<4, SlotOrder::by_slot>(task, first, last)
                     : run_groups<4, SlotOrder::by_row>(task, first, last);
    case 5:
      return by_slot ? run_groups<5, SlotOrder::by_slot>(task, first, last)
                     : run_groups<5, SlotOrder::by_row>(task, first, last);
    default:
      return by_slot ? run_groups<8, SlotOrder::by_slot>(task, first, last)
                     : run_groups<8, SlotOrder::by_row>(task, first, last);
  }
}

}  // namespace

constinit const WindowKernel kWindowPortable{{8, 8, 8, 8}, scan, prepared_bytes, prepare, run};

}  // namespace dcz
