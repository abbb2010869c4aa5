// Helpers of the NEON kernels of the form `window`. Each file that is compiled with flags of its own includes this
// once, hence the namespace without a name.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "packed/window/kernel.hpp"

namespace dcz {

// Sums of integers for the groups first to last - 1: with the instructions of every aarch64, or with `sdot`.
void run_window_neon_long(const WindowTask& task, std::size_t first, std::size_t last);
void run_window_neon_dot(const WindowTask& task, std::size_t first, std::size_t last);

namespace {

constexpr std::size_t kMostVectors = 8;

// A quarter of a step: the 16 slots of 4 rows.
constexpr std::size_t kQuarters = 4, kQuarterRows = 4, kQuarterSlots = 16;

inline std::size_t elements_of(const WindowTask& task) { return task.view->blocks * kBlockElements; }

// Byte planes of a vector for sums of integers: x8 one, x24 three, little-endian. All are signed, for products of
// bytes: the lower two planes of x24 are reduced by 128, and the sums of each row's digits make up for it. x24w24 has
// balanced digits instead, which need no such sums. Bytes behind the elements are 0 in every plane, and so add nothing.
inline std::size_t planes_of(Arithmetic arithmetic) { return arithmetic == Arithmetic::x8 ? 1 : 3; }

constexpr std::int64_t kPlaneOffset24 = 128 + 256 * 128;

// Calls body(std::integral_constant) for 0 to kCount - 1: constants name lanes and registers.
template <std::size_t kCount, typename Body>
inline void unrolled(const Body& body) {
  [&]<std::size_t... kAt>(std::index_sequence<kAt...>) {
    (body(std::integral_constant<std::size_t, kAt>{}), ...);
  }(std::make_index_sequence<kCount>{});
}

// The codes of a quarter of a step. With 5 bits, `raw` has their top bits above the places.
template <unsigned kCodeBits>
inline uint8x16_t read_codes(const std::uint8_t* pair, std::size_t step, std::size_t quarter, uint8x16_t raw) {
  const std::uint8_t* const codes = pair + 2 * kStepSlots + quarter * kQuarterSlots;
  if constexpr (kCodeBits == 8) {
    return vld1q_u8(codes + step * kStepSlots);
  } else {
    const uint8x16_t both = vld1q_u8(codes);
    const uint8x16_t low = step == 0 ? vandq_u8(both, vdupq_n_u8(15)) : vshrq_n_u8(both, 4);
    return kCodeBits == 5 ? vorrq_u8(low, vshlq_n_u8(vshrq_n_u8(raw, 7), 4)) : low;
  }
}

// Calls run(code bits, layout), both constants.
template <typename Run>
inline void by_slots(const WindowView& view, const Run& run) {
  by_layout<WindowLayout::by_row, WindowLayout::by_slot>(view, run);
}

}  // namespace
}  // namespace dcz
