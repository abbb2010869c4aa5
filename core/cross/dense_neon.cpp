// Dense int8 products on 64-bit ARM as plain C++, counted between two marks as in counted.cpp: what packed weights are
// compared with. Reads a product a line:
//
//   ROWS COLUMNS loop|unrolled
//
// `loop` is left to the compiler. `unrolled` takes four rows at once, so that they share what is loaded of x. With
// FEAT_DotProd (dense_neon_dot.cpp) both use `sdot`.
#include <arm_neon.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "cross/random.hpp"

namespace {

constexpr long kBegin = 1000, kEnd = 1001;

using Bytes = std::vector<std::int8_t>;

// Rows of int8 with a scale each.
struct Dense {
  std::size_t rows, columns;
  Bytes weights;
  std::vector<float> scales;

  Dense(std::size_t r, std::size_t c) : rows(r), columns(c), weights(r * c), scales(r, 0.01f) {
    for (auto& each : weights) each = static_cast<std::int8_t>(random_bits() >> 56);
  }
};

// x as int8; the returned step is its scale.
float quantize(const std::vector<float>& x, Bytes& out) {
  float largest = 1e-30f;
  for (const float each : x) largest = std::max(largest, std::fabs(each));
  const float per_step = 127 / largest;
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = static_cast<std::int8_t>(vcvtns_s32_f32(x[i] * per_step));
  return largest / 127;
}

std::int32_t dot(const std::int8_t* a, const std::int8_t* b, std::size_t count) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

void loop(const Dense& dense, const Bytes& x, float step, float* y) {
  for (std::size_t row = 0; row < dense.rows; ++row) {
    const std::int32_t sum = dot(dense.weights.data() + row * dense.columns, x.data(), dense.columns);
    y[row] = static_cast<float>(sum) * (step * dense.scales[row]);
  }
}

inline int32x4_t add_products(int32x4_t sums, int8x16_t a, int8x16_t b) {
#ifdef __ARM_FEATURE_DOTPROD
  return vdotq_s32(sums, a, b);
#else
  return vpadalq_s16(vpadalq_s16(sums, vmull_s8(vget_low_s8(a), vget_low_s8(b))), vmull_high_s8(a, b));
#endif
}

void unrolled(const Dense& dense, const Bytes& x, float step, float* y) {
  constexpr std::size_t kRows = 4, kColumns = 16;
  const std::size_t whole = dense.rows / kRows * kRows, columns = dense.columns / kColumns * kColumns;
  for (std::size_t row = 0; row < whole; row += kRows) {
    const std::int8_t* const first = dense.weights.data() + row * dense.columns;
    int32x4_t sums[kRows] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
#pragma GCC unroll 4
    for (std::size_t i = 0; i < columns; i += kColumns) {
      const int8x16_t here = vld1q_s8(x.data() + i);
#pragma GCC unroll 4
      for (std::size_t r = 0; r < kRows; ++r) {
        sums[r] = add_products(sums[r], vld1q_s8(first + r * dense.columns + i), here);
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      const std::int8_t* const rest = first + r * dense.columns + columns;
      const std::int32_t sum = vaddvq_s32(sums[r]) + dot(rest, x.data() + columns, dense.columns - columns);
      y[row + r] = static_cast<float>(sum) * (step * dense.scales[row + r]);
    }
  }
  for (std::size_t row = whole; row < dense.rows; ++row) {
    const std::int32_t sum = dot(dense.weights.data() + row * dense.columns, x.data(), dense.columns);
    y[row] = static_cast<float>(sum) * (step * dense.scales[row]);
  }
}

}  // namespace

int main() {
  std::size_t rows, columns;
  std::string kind;
  while (std::cin >> rows >> columns >> kind) {
    const Dense dense(rows, columns);
    std::vector<float> x(columns), y(rows), expected(rows);
    for (std::size_t i = 0; i < columns; ++i) x[i] = static_cast<float>(i * 37 % 201) / 100 - 1;
    Bytes quantized(columns);
    const auto multiply = kind == "loop" ? loop : unrolled;
    syscall(kBegin);
    multiply(dense, quantized, quantize(x, quantized), y.data());
    syscall(kEnd);
    for (std::size_t row = 0; row < rows; ++row) {
      std::int64_t sum = 0;
      for (std::size_t i = 0; i < columns; ++i) sum += dense.weights[row * columns + i] * std::int64_t{quantized[i]};
      const auto right = static_cast<double>(sum) / 127 * 0.01;
      if (std::fabs(static_cast<double>(y[row]) - right) > 1e-4 * std::fabs(right) + 1e-4) {
        std::printf("row %zu of %zu x %zu, %s: wrong\n", row, rows, columns, kind.c_str());
        return 1;
      }
    }
  }
}
