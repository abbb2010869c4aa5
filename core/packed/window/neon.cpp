// The form `window` with NEON: sums of floats. neon_prepare.hpp prepares vectors; neon_integers.hpp has the sums of
// integers.
//
// An ordinary load finds the float of a slot, with its place as the index. `tbl` finds the centroids in byte planes, 16
// at once, and they are zipped together. 64 slots of one vector take some 260 instructions
// (benchmarks/results/neon_instructions.json counts them); by the published throughputs of a Cortex-A76 or Neoverse-N1
// these take 65 cycles, the two pipes for vectors 58 of them and loads 36. Looking up x in byte planes too would fill
// the pipes for vectors for 106 cycles. Loading places, codes and centroids one by one would fill the two for loads for
// 96. Up to four vectors lie side by side: one load and one multiplication of a slot serve all of them.
#include "packed/window/neon.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "packed/window/neon_prepare.hpp"

#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace dcz {
namespace {

Scan scan(const float* x, std::size_t columns) {
  float32x4_t largest = vdupq_n_f32(0), squares[2] = {largest, largest};
  const auto take = [&](float32x4_t value, float32x4_t& sum) {
    const float32x4_t magnitude = vabsq_f32(value);
    largest = vmaxq_f32(largest, magnitude);
    sum = vfmaq_f32(sum, value, value);
  };
  std::size_t i = 0;
  for (; i + 8 <= columns; i += 8) {
    take(vld1q_f32(x + i), squares[0]);
    take(vld1q_f32(x + i + 4), squares[1]);
  }
  for (; i < columns; i += 4) {
    std::array<float, 4> rest{};
    std::copy(x + i, x + std::min(i + 4, columns), rest.begin());
    take(vld1q_f32(rest.data()), squares[0]);
  }
  // a maximum with NaN is NaN
  const float most = vmaxvq_f32(largest);
  return {most, vaddvq_f32(vaddq_f32(squares[0], squares[1])), most <= std::numeric_limits<float>::max()};
}

// Floats --------------------------------------------------------------------------------------------------------------

// The centroids of a quarter: lane k of value[l] is that of slot k of lane l.
struct Weights {
  float32x4_t value[kQuarterRows];
};

template <unsigned kCodeBits>
class Codebook {
 public:
  explicit Codebook(const float* centroids) {
    alignas(16) std::array<std::uint8_t, 4 * kCentroids> bytes;
    for (std::size_t i = 0; i < kCentroids; ++i) {
      const auto bits = std::bit_cast<std::uint32_t>(centroids[i]);
      for (std::size_t plane = 0; plane < 4; ++plane) {
        bytes[plane * kCentroids + i] = static_cast<std::uint8_t>(bits >> (8 * plane));
      }
    }
    for (std::size_t plane = 0; plane < 4; ++plane) {
      if constexpr (kCodeBits == 4) planes_[plane] = vld1q_u8(bytes.data() + plane * kCentroids);
      if constexpr (kCodeBits == 5) planes_[plane] = vld1q_u8_x2(bytes.data() + plane * kCentroids);
    }
  }

  Weights find(uint8x16_t codes) const {
    const uint8x16x2_t low = vzipq_u8(look_up(0, codes), look_up(1, codes));
    const uint8x16x2_t high = vzipq_u8(look_up(2, codes), look_up(3, codes));
    Weights found;
    unrolled<2>([&](auto half) {
      const uint16x8x2_t both = vzipq_u16(vreinterpretq_u16_u8(low.val[half]), vreinterpretq_u16_u8(high.val[half]));
      found.value[2 * half] = vreinterpretq_f32_u16(both.val[0]);
      found.value[2 * half + 1] = vreinterpretq_f32_u16(both.val[1]);
    });
    return found;
  }

 private:
  static constexpr std::size_t kCentroids = std::size_t{1} << kCodeBits;

  uint8x16_t look_up(std::size_t plane, uint8x16_t codes) const {
    if constexpr (kCodeBits == 4) return vqtbl1q_u8(planes_[plane], codes);
    if constexpr (kCodeBits == 5) return vqtbl2q_u8(planes_[plane], codes);
  }

  std::conditional_t<kCodeBits == 4, uint8x16_t, uint8x16x2_t> planes_[4];
};

// 256 centroids: look-ups would be 16 for 16 slots and each byte plane. Loads find them.
template <>
class Codebook<8> {
 public:
  explicit Codebook(const float* centroids) : centroids_(centroids) {}

  Weights find(uint8x16_t codes) const {
    Weights found;
    unrolled<kQuarterRows>([&](auto row) {
      const auto centroid = [&](auto slot) { return centroids_[vgetq_lane_u8(codes, 4 * row() + slot)]; };
      found.value[row] =
          float32x4_t{centroid(std::integral_constant<int, 0>{}), centroid(std::integral_constant<int, 1>{}),
                      centroid(std::integral_constant<int, 2>{}), centroid(std::integral_constant<int, 3>{})};
    });
    return found;
  }

 private:
  const float* centroids_;
};

// The place of the slot at byte `at` of 16, below 128 whatever the top bit is.
std::size_t place_at(const std::uint64_t (&places)[2], std::size_t at) {
  return places[at / 8] >> (8 * (at % 8)) & 127;
}

// Adds a quarter of a step to the sums of its rows. With kWidth 1, a sum has a lane for each slot. With kWidth kTile,
// it has one for each vector, and slots are summed before they are added: sums wait less for each other.
template <WindowLayout kOrder, std::size_t kWidth>
void add_quarter(const std::uint8_t* stream, const float* window, const Weights& weights, float32x4_t* sums) {
  std::uint64_t places[2];
  std::memcpy(places, stream, sizeof places);
  unrolled<kQuarterRows>([&](auto row) {
    const auto x = [&](std::size_t slot) { return window + kWidth * place_at(places, place_of(kOrder, row, slot)); };
    const float32x4_t weight = weights.value[row];
    if constexpr (kWidth == 1) {
      sums[row] = vfmaq_f32(sums[row], float32x4_t{*x(0), *x(1), *x(2), *x(3)}, weight);
    } else {
      float32x4_t four = vmulq_laneq_f32(vld1q_f32(x(0)), weight, 0);
      four = vfmaq_laneq_f32(four, vld1q_f32(x(1)), weight, 1);
      four = vfmaq_laneq_f32(four, vld1q_f32(x(2)), weight, 2);
      four = vfmaq_laneq_f32(four, vld1q_f32(x(3)), weight, 3);
      sums[row] = vaddq_f32(sums[row], four);
    }
  });
}

using Sums = std::array<float32x4_t, kStepRows>;

// So many pairs are summed up before they are added to the totals: one long chain of sums would lose digits.
constexpr std::size_t kSettle = 64;

// Sums of a group's rows for the vector, or the tile of vectors, at `x`.
template <unsigned kCodeBits, WindowLayout kOrder, std::size_t kWidth>
[[gnu::flatten]] Sums sums_of(const WindowView& view, const Codebook<kCodeBits>& codebook, std::size_t group,
                              const float* x) {
  const Codebook<kCodeBits> kept = codebook;  // in registers
  Sums totals{};
  for (std::size_t pair = view.first_pair(group), last = view.last_pair(group); pair < last;) {
    float32x4_t sums[kStepRows]{};
    for (const std::size_t settled = pair + std::min(kSettle, last - pair); pair < settled; ++pair) {
      const std::uint8_t* const stream = view.stream + pair * view.pair_bytes;
      unrolled<2>([&](auto step) {
        const float* const window = x + view.start(2 * pair + step) * kBlockElements * kWidth;
        unrolled<kQuarters>([&](auto quarter) {
          const std::uint8_t* const places = stream + step * kStepSlots + quarter * kQuarterSlots;
          const Weights weights = kept.find(read_codes<kCodeBits>(stream, step, quarter, vld1q_u8(places)));
          add_quarter<kOrder, kWidth>(places, window, weights, sums + quarter * kQuarterRows);
        });
      });
    }
    for (std::size_t lane = 0; lane < kStepRows; ++lane) totals[lane] = vaddq_f32(totals[lane], sums[lane]);
  }
  return totals;
}

template <unsigned kCodeBits, WindowLayout kOrder, std::size_t kWidth>
void run_tile(const WindowTask& task, const Codebook<kCodeBits>& codebook, std::size_t group, std::size_t vector) {
  const WindowView& view = *task.view;
  const Sums sums = sums_of<kCodeBits, kOrder, kWidth>(view, codebook, group, tile_of(task, vector));
  const std::size_t vectors = std::min(kWidth, task.vectors - vector);
  each_row(task, group, [&](std::size_t lane, std::uint32_t row, float bias) {
    std::array<float, kTile> found{vaddvq_f32(sums[lane])};
    if constexpr (kWidth != 1) vst1q_f32(found.data(), sums[lane]);
    for (std::size_t v = 0; v < vectors; ++v) task.y[(vector + v) * view.header.rows + row] = found[v] + bias;
  });
}

template <unsigned kCodeBits, WindowLayout kOrder>
void run_floats(const WindowTask& task, std::size_t first, std::size_t last) {
  const Codebook<kCodeBits> codebook(task.view->codebook);
  for (std::size_t group = first; group < last; ++group) {
    for (std::size_t vector = 0; vector < task.vectors; vector += kTile) {
      if (tile_width(task, vector) == 1) {
        run_tile<kCodeBits, kOrder, 1>(task, codebook, group, vector);
      } else {
        run_tile<kCodeBits, kOrder, kTile>(task, codebook, group, vector);
      }
    }
  }
}

bool has_dot_products() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
  return true;  // every M1 and later
#else
  return false;
#endif
}

std::size_t vectors(const WindowView& view, Arithmetic arithmetic) {
  if (view.one_window()) return 0;
  return first_power(arithmetic) > 0 ? 1 : kMostVectors;
}

void run(const WindowTask& task, std::size_t first, std::size_t last) {
  if (task.arithmetic == Arithmetic::floats) {
    return by_slots(*task.view,
                    [&](auto code_bits, auto order) { run_floats<code_bits(), order()>(task, first, last); });
  }
  static const bool dot_products = has_dot_products();
  return dot_products ? run_window_neon_dot(task, first, last) : run_window_neon_long(task, first, last);
}

}  // namespace

constinit const WindowKernel kWindowNeon{vectors, scan, prepared_bytes, prepare, run, nullptr};

}  // namespace dcz
