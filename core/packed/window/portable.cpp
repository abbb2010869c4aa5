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

// So many pairs are summed up before they are added to the totals: one long chain of float sums would lose digits.
constexpr std::size_t kSettle = 64;

// The most rows of a group.
constexpr std::size_t kMostRows = 2 * kStepRows;

std::size_t vectors(const WindowView&, Arithmetic) { return 8; }

// The elements of a vector, or of its fixed point: its blocks, and a window of zeros.
std::size_t elements_of(const WindowTask& task) { return (task.view->blocks + 2) * kBlockElements; }

// The parts of a prepared vector: all of it, then the balanced digits of which the arithmetic leaves products out.
std::size_t parts_of(const WindowTask& task) { return 1 + first_power(task.arithmetic); }

std::size_t prepared_bytes(const WindowTask& task) {
  return task.vectors * parts_of(task) * elements_of(task) * sizeof(float);
}

template <typename T>
T* vector_of(const WindowTask& task, std::size_t vector, std::size_t part = 0) {
  return reinterpret_cast<T*>(task.prepared) + (vector * parts_of(task) + part) * elements_of(task);
}

// The part of a number that its lowest balanced digits are.
std::int32_t lowest_digits(std::int32_t number, std::size_t digits) {
  std::int32_t found = 0;
  for (std::int32_t power = 1; digits-- > 0; power *= 256) {
    found += power * static_cast<std::int8_t>(static_cast<std::uint8_t>((number - found) / power & 0xff));
  }
  return found;
}

void prepare(const WindowTask& task, std::size_t first, std::size_t last) {
  const std::size_t columns = task.view->header.columns;
  for (std::size_t v = first; v < last; ++v) {
    const float* const x = task.x + v * columns;
    std::memset(vector_of<float>(task, v), 0, parts_of(task) * elements_of(task) * sizeof(float));
    const float per_step = 1 / task.steps[v];
    for (std::size_t begin = 0, at = 0; begin < columns; begin += kBlockColumns, at += kBlockElements) {
      const std::size_t end = std::min(begin + kBlockColumns, columns);
      if (task.arithmetic == Arithmetic::floats) {
        std::copy(x + begin, x + end, vector_of<float>(task, v) + at);
        continue;
      }
      std::int32_t* const out = vector_of<std::int32_t>(task, v) + at;
      for (std::size_t i = begin; i < end; ++i) {
        out[i - begin] = static_cast<std::int32_t>(std::lrintf(x[i] * per_step));
      }
      for (std::size_t part = 1; part < parts_of(task); ++part) {
        std::transform(out, out + (end - begin), vector_of<std::int32_t>(task, v, part) + at, [&](std::int32_t number) {
          return lowest_digits(number, part) - lowest_digits(number, part - 1);
        });
      }
    }
  }
}

template <typename T>
struct Pair {
  T first, second;
};

// A centroid or digit for each code. With 4 bits a code also for each byte of codes: one look-up finds the weights of
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

// Floats, or integers. The sums of spoilt bytes may wrap.
inline float product(float weight, float x) { return weight * x; }
inline std::uint64_t product(std::int32_t weight, std::int32_t x) {
  return static_cast<std::uint64_t>(std::int64_t{weight} * std::int64_t{x});
}

// Adds a pair to the sums of one vector. The sums of both steps are apart, so that compilers multiply two at once. It
// is not inlined: compilers would compute each slot's address from the start of the vector again. Places are masked
// only where their top bit is the fifth of a code, since masking costs as much as a look-up. A spoilt stream reads at
// most one window further, and prepared vectors have one.
template <unsigned kCodeBits, WindowLayout kLayout, typename Value, typename Sum>
[[gnu::noinline]] void add_pair(const std::uint8_t* stream, const std::uint8_t* fifths, const Value* first,
                                const Value* second, const Weights<Value>& weights, Pair<Sum>* sums) {
  constexpr bool kOneWindow = kLayout == WindowLayout::one_window;
  constexpr unsigned kMask = kCodeBits == 5 && !kOneWindow ? 127 : 255;
  for (std::size_t quarter = 0; quarter < 4; ++quarter, stream += 16, fifths += 2, sums += 4) {
    const std::uint8_t *const more = stream + kStepSlots, *const codes = more + kStepSlots;
    for (std::size_t lane = 0; lane < 4; ++lane) {
      Pair<Sum> sum{};
      for (std::size_t k = 0; k < 4; ++k) {
        const std::size_t at = 4 * lane + k, place = place_of(kLayout, lane, k);
        Pair<Value> weight;
        if constexpr (kCodeBits == 4) {
          weight = weights.pairs[codes[at]];
        } else if constexpr (kCodeBits == 8) {
          weight = {weights.single[codes[at]], weights.single[codes[at + kStepSlots]]};
        } else {
          const unsigned fifth = kOneWindow ? fifths[at / 8] >> at % 8 & 1 : stream[at] >> 7;
          const unsigned other = kOneWindow ? fifths[8 + at / 8] >> at % 8 & 1 : more[at] >> 7;
          weight = {weights.single[(codes[at] & 15u) | fifth << 4], weights.single[codes[at] >> 4u | other << 4]};
        }
        sum.first += product(weight.first, first[stream[place] & kMask]);
        sum.second += product(weight.second, second[more[place] & kMask]);
      }
      sums[lane] = {sums[lane].first + sum.first, sums[lane].second + sum.second};
    }
  }
}

// The sums of a group's rows. With one window, each step has rows of its own.
template <unsigned kCodeBits, WindowLayout kLayout, typename Sum, typename Value>
std::array<Sum, kMostRows> sums_of(const WindowView& view, std::size_t group, const Value* x,
                                   const Weights<Value>& weights) {
  constexpr std::size_t kWindows = kLayout == WindowLayout::one_window ? 1 : 2;
  std::array<Sum, kMostRows> totals{};
  const std::size_t last = view.last_pair(group);
  for (std::size_t pair = view.first_pair(group); pair < last;) {
    std::array<Pair<Sum>, kStepRows> sums{};
    for (const std::size_t settled = pair + std::min(kSettle, last - pair); pair < settled; ++pair) {
      const std::size_t window = kWindows * pair;
      add_pair<kCodeBits, kLayout>(view.stream + pair * view.pair_bytes, view.fifths + 16 * pair,
                                   x + view.start(window) * kBlockElements,
                                   x + view.start(window + kWindows - 1) * kBlockElements, weights, sums.data());
    }
    for (std::size_t lane = 0; lane < kStepRows; ++lane) {
      if constexpr (kWindows == 1) {
        totals[lane] += sums[lane].first;
        totals[kStepRows + lane] += sums[lane].second;
      } else {
        totals[lane] += sums[lane].first + sums[lane].second;
      }
    }
  }
  return totals;
}

template <unsigned kCodeBits, WindowLayout kLayout>
void run_floats(const WindowTask& task, std::size_t first, std::size_t last) {
  const WindowView& view = *task.view;
  const auto weights = weights_of<float>(kCodeBits, [&](std::size_t code) { return view.codebook[code]; });
  for (std::size_t group = first; group < last; ++group) {
    for (std::size_t v = 0; v < task.vectors; ++v) {
      const auto sums = sums_of<kCodeBits, kLayout, float>(view, group, vector_of<float>(task, v), weights);
      each_row(task, group, [&](std::size_t lane, std::uint32_t row, float bias) {
        task.y[v * view.header.rows + row] = sums[lane] + bias;
      });
    }
  }
}

template <unsigned kCodeBits, WindowLayout kLayout>
void run_integers(const WindowTask& task, std::size_t first, std::size_t last) {
  const WindowView& view = *task.view;
  const DigitRange digits = digits_of(view, task.arithmetic);
  const auto integer = [&](std::size_t code) {
    std::int32_t found = 0;
    for (std::size_t i = digits.count; i-- > 0;) found = 256 * found + view.digit_plane(digits.first + i)[code];
    return found;
  };
  const auto weights = weights_of<std::int32_t>(kCodeBits, integer);
  // what each digit of x, the lowest first, is not multiplied by
  std::array<Weights<std::int32_t>, 2> lowest{};
  for (std::size_t part = 1; part < parts_of(task); ++part) {
    lowest[part - 1] = weights_of<std::int32_t>(
        kCodeBits, [&](std::size_t code) { return lowest_digits(integer(code), parts_of(task) - part); });
  }
  const auto sums_with = [&](std::size_t group, const std::int32_t* x, const Weights<std::int32_t>& integers) {
    return sums_of<kCodeBits, kLayout, std::uint64_t>(view, group, x, integers);
  };
  for (std::size_t group = first; group < last; ++group) {
    for (std::size_t v = 0; v < task.vectors; ++v) {
      auto sums = sums_with(group, vector_of<std::int32_t>(task, v), weights);
      for (std::size_t part = 1; part < parts_of(task); ++part) {
        const auto left_out = sums_with(group, vector_of<std::int32_t>(task, v, part), lowest[part - 1]);
        for (std::size_t lane = 0; lane < kMostRows; ++lane) sums[lane] -= left_out[lane];
      }
      each_row(task, group, [&](std::size_t lane, std::uint32_t row, float bias) {
        const auto sum = static_cast<double>(static_cast<std::int64_t>(sums[lane]));
        task.y[v * view.header.rows + row] = finish_integer(sum, task.steps[v], digits.scale, bias);
      });
    }
  }
}

void run(const WindowTask& task, std::size_t first, std::size_t last) {
  by_layout<WindowLayout::by_row, WindowLayout::by_slot, WindowLayout::one_window>(
      *task.view, [&](auto code_bits, auto layout) {
        task.arithmetic == Arithmetic::floats ? run_floats<code_bits(), layout()>(task, first, last)
                                              : run_integers<code_bits(), layout()>(task, first, last);
      });
}

}  // namespace

constinit const WindowKernel kWindowPortable{vectors, scan, prepared_bytes, prepare, run, nullptr};

}  // namespace dcz
