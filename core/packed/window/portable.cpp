// The form `window` in portable C++.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "packed/window/kernel.hpp"

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

// Pairs whose sums are added to the totals at once: floats would lose digits in one long chain of sums.
constexpr std::size_t kSettle = 64;

// A vector, or its fixed-point form, in blocks, and a window of zeros.
std::size_t elements_of(const WindowTask& task) { return (task.view->blocks + 2) * kBlockElements; }

std::size_t prepared_bytes(const WindowTask& task) { return task.vectors * elements_of(task) * sizeof(float); }

template <typename T>
T* vector_of(const WindowTask& task, std::size_t vector) {
  return reinterpret_cast<T*>(task.prepared) + vector * elements_of(task);
}

void prepare(const WindowTask& task, std::size_t first, std::size_t last) {
  const std::size_t columns = task.view->header.columns;
  for (std::size_t v = first; v < last; ++v) {
    const float* const x = task.x + v * columns;
    std::memset(vector_of<float>(task, v), 0, elements_of(task) * sizeof(float));
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

template <typename T>
struct Pair {
  T first, second;
};

// A centroid or digit for each code, and with 4 bits a code for each byte of codes: one look-up finds the weights of
// both steps of a pair.
template <typename Weight>
struct Weights {
  std::array<Weight, 256> single;
  std::array<Pair<Weight>, 256> pairs;
};

template <typename Weight, typename Each>
Weights<Weight> weights_of(unsigned code_bits, const Each& each) {
  Weights<Weight> weights{};
  for (std::size_t code = 0; code < (std::size_t{1} << code_bits); ++code) weights.single[code] = each(code);
  for (std::size_t byte = 0; byte < 256; ++byte) {
    weights.pairs[byte] = {weights.single[byte & 15], weights.single[byte >> 4]};
  }
  return weights;
}

// What one pair adds to the sums of one vector: apart for both steps, so that compilers multiply two at once. Not
// inlined, or they find the address of each slot from the start of the vector anew. With 4 or 8 bits a code, places are
// not masked, since that would cost as much as a look-up: a spoilt stream reads at most one window further, which
// prepared vectors have.
template <unsigned kCodeBits, SlotOrder kOrder, typename Value, typename Weight, typename Sum>
[[gnu::noinline]] void add_pair(const std::uint8_t* stream, const Value* first, const Value* second,
                                const Weights<Weight>& weights, Pair<Sum>* sums) {
  constexpr unsigned kMask = kCodeBits == 5 ? 127 : 255;
  for (std::size_t quarter = 0; quarter < 4; ++quarter, stream += 16, sums += 4) {
    const std::uint8_t *const more = stream + kStepSlots, *const codes = more + kStepSlots;
    for (std::size_t lane = 0; lane < 4; ++lane) {
      Pair<Sum> sum{};
      for (std::size_t k = 0; k < 4; ++k) {
        const std::size_t at = 4 * lane + k, place = place_of(kOrder, lane, k);
        Pair<Weight> weight;
        if constexpr (kCodeBits == 4) {
          weight = weights.pairs[codes[at]];
        } else if constexpr (kCodeBits == 8) {
          weight = {weights.single[codes[at]], weights.single[codes[at + kStepSlots]]};
        } else {
          weight = {weights.single[static_cast<unsigned>((codes[at] & 15) | (stream[at] >> 7) << 4)],
                    weights.single[static_cast<unsigned>(codes[at] >> 4 | (more[at] >> 7) << 4)]};
        }
        sum.first += static_cast<Sum>(weight.first) * static_cast<Sum>(first[stream[place] & kMask]);
        sum.second += static_cast<Sum>(weight.second) * static_cast<Sum>(second[more[place] & kMask]);
      }
      sums[lane] = {sums[lane].first + sum.first, sums[lane].second + sum.second};
    }
  }
}

float finish(const WindowTask&, std::size_t, float sum, float bias) { return sum + bias; }

float finish(const WindowTask& task, std::size_t vector, std::int64_t sum, float bias) {
  const PackedHeader& header = task.view->header;
  const float scale = task.arithmetic == Arithmetic::x24w16 ? header.scale16 : header.scale8;
  return finish_integer(static_cast<double>(sum), task.steps[vector], scale, bias);
}

// One vector and one group, in floats or in integers.
template <unsigned kCodeBits, SlotOrder kOrder, typename Value, typename Sum>
void run_group(const WindowTask& task, const Weights<Value>& weights, std::size_t group, std::size_t v) {
  const WindowView& view = *task.view;
  const Value* const x = vector_of<Value>(task, v);
  std::array<Sum, kStepRows> totals{};
  const std::size_t last = view.last_pair(group);
  for (std::size_t pair = view.first_pair(group); pair < last;) {
    std::array<Pair<Sum>, kStepRows> sums{};
    for (const std::size_t settled = pair + std::min(kSettle, last - pair); pair < settled; ++pair) {
      add_pair<kCodeBits, kOrder>(view.stream + pair * view.stream_bytes, x + view.start(2 * pair) * kBlockElements,
                                  x + view.start(2 * pair + 1) * kBlockElements, weights, sums.data());
    }
    for (std::size_t lane = 0; lane < kStepRows; ++lane) totals[lane] += sums[lane].first + sums[lane].second;
  }
  for (std::size_t lane = 0; lane < kStepRows; ++lane) {
    const std::uint32_t row = view.order[group * kStepRows + lane];
    if (row >= view.header.rows) continue;
    task.y[v * view.header.rows + row] = finish(task, v, totals[lane], task.bias ? task.bias[row] : 0);
  }
}

template <unsigned kCodeBits, SlotOrder kOrder>
void run_groups(const WindowTask& task, std::size_t first, std::size_t last) {
  const WindowView& view = *task.view;
  const auto each = [&](const auto& one) {
    for (std::size_t group = first; group < last; ++group) {
      for (std::size_t v = 0; v < task.vectors; ++v) one(group, v);
    }
  };
  if (task.arithmetic == Arithmetic::floats) {
    const auto weights = weights_of<float>(kCodeBits, [&](std::size_t code) { return view.codebook[code]; });
    return each(
        [&](std::size_t group, std::size_t v) { run_group<kCodeBits, kOrder, float, float>(task, weights, group, v); });
  }
  const auto weights = weights_of<std::int32_t>(kCodeBits, [&](std::size_t code) -> std::int32_t {
    if (task.arithmetic != Arithmetic::x24w16) return view.digit_plane(0)[code];
    return 256 * view.digit_plane(2)[code] + view.digit_plane(1)[code];
  });
  each([&](std::size_t group, std::size_t v) {
    run_group<kCodeBits, kOrder, std::int32_t, std::int64_t>(task, weights, group, v);
  });
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

constinit const WindowKernel kWindowPortable{{8, 8, 8, 8}, scan, prepared_bytes, prepare, run, nullptr};

}  // namespace dcz
