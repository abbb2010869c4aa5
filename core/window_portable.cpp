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

// Lanes whose places and codes are neighbours in either SlotOrder.
constexpr std::size_t kLanes = 4;

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

// The weights of a byte of codes: with 4 bits a code, one look-up finds those of both steps of a pair.
template <typename Weight>
struct Pair {
  Weight first, second;
};

template <unsigned kCodeBits, typename Weight>
std::array<Pair<Weight>, 256> pairs_of(const Weight* weights) {
  std::array<Pair<Weight>, 256> table{};
  for (std::size_t byte = 0; byte < (kCodeBits == 8 ? 0 : 256); ++byte) {
    table[byte] = {weights[byte & 15], weights[byte >> 4]};
  }
  return table;
}

// What one pair adds to the sums of one vector: apart for both steps, so that compilers multiply two at once. Not
// inlined, or they find the address of each slot from the start of the vector anew. With 4 or 8 bits a code, places are
// not masked, since that would cost as much as a look-up: a spoilt stream reads at most one window further, which
// prepared vectors have.
template <unsigned kCodeBits, SlotOrder kOrder, typename Value, typename Weight, typename Sum>
[[gnu::noinline]] void add_pair(const std::uint8_t* stream, const Value* first, const Value* second,
                                const Pair<Weight>* pairs, const Weight* weights, Pair<Sum>* sums) {
  constexpr unsigned kMask = kCodeBits == 5 ? 127 : 255;
  for (std::size_t quarter = 0; quarter < 4; ++quarter, stream += 16, sums += 4) {
    const std::uint8_t *const more = stream + kStepSlots, *const codes = more + kStepSlots;
    for (std::size_t lane = 0; lane < 4; ++lane) {
      Pair<Sum> sum = sums[lane];
      for (std::size_t k = 0; k < 4; ++k) {
        const std::size_t at = 4 * lane + k, place = place_of(kOrder, lane, k);
        Pair<Weight> weight;
        if constexpr (kCodeBits == 4) {
          weight = pairs[codes[at]];
        } else if constexpr (kCodeBits == 8) {
          weight = {weights[codes[at]], weights[codes[at + kStepSlots]]};
        } else {
          weight = {weights[(codes[at] & 15u) | (stream[at] >> 7u) << 4u],
                    weights[codes[at] >> 4u | (more[at] >> 7u) << 4u]};
        }
        sum.first += static_cast<Sum>(weight.first) * static_cast<Sum>(first[stream[place] & kMask]);
        sum.second += static_cast<Sum>(weight.second) * static_cast<Sum>(second[more[place] & kMask]);
      }
      sums[lane] = sum;
    }
  }
}

// Sums for one vector and one group; Value and Weight are float and float, or std::int32_t and its digits.
template <unsigned kCodeBits, SlotOrder kOrder, typename Value, typename Weight, typename Sum>
void add_group(const WindowView& view, std::size_t group, const Value* x, const Weight* weights,
               std::array<Sum, kGroupRows>& sums) {
  const auto pairs = pairs_of<kCodeBits>(weights);
  std::array<Pair<Sum>, kGroupRows> found{};
  for (std::size_t pair = view.first_pair(group); pair < view.last_pair(group); ++pair) {
    add_pair<kCodeBits, kOrder>(view.stream + pair * view.stream_bytes, x + view.start(2 * pair) * kBlockElements,
                                x + view.start(2 * pair + 1) * kBlockElements, pairs.data(), weights, found.data());
  }
  for (std::size_t lane = 0; lane < kGroupRows; ++lane) sums[lane] = found[lane].first + found[lane].second;
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
