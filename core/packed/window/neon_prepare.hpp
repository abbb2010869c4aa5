// The form `window` with NEON: prepared vectors, in floats or as planes of bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "packed/window/neon.hpp"

namespace dcz {
namespace {

// Tiles of four vectors in floats, element by element. A single vector at the end has a tile of its own.
constexpr std::size_t kTile = 4;

inline std::size_t tile_width(const WindowTask& task, std::size_t vector) {
  return task.vectors - vector / kTile * kTile == 1 ? 1 : kTile;
}

inline float* tile_of(const WindowTask& task, std::size_t vector) {
  return reinterpret_cast<float*>(task.prepared) + vector / kTile * kTile * elements_of(task);
}

inline std::size_t prepared_bytes(const WindowTask& task) {
  if (task.arithmetic != Arithmetic::floats) return task.vectors * planes_of(task.arithmetic) * elements_of(task);
  const std::size_t last = task.vectors - 1;
  return (last / kTile * kTile + tile_width(task, last)) * elements_of(task) * sizeof(float);
}

// 64 floats: the elements of a block, then one of the next block. Of the last blocks, zeros follow the elements.
inline const float* block_of(const WindowTask& task, std::size_t vector, std::size_t block,
                             std::array<float, kBlockElements>& copied) {
  const std::size_t columns = task.view->header.columns, begin = std::min(block * kBlockColumns, columns);
  const float* const x = task.x + vector * columns + begin;
  if (begin + kBlockElements <= columns) return x;
  std::fill(std::copy(x, x + std::min(kBlockColumns, columns - begin), copied.begin()), copied.end(), 0.0f);
  return copied.data();
}

inline void prepare_floats(const WindowTask& task, std::size_t vector) {
  const std::size_t width = tile_width(task, vector);
  // the last vector of a tile fills the lanes behind it
  const std::size_t lanes = vector + 1 == task.vectors ? width - vector % kTile : 1;
  float* out = tile_of(task, vector) + vector % kTile;
  std::array<float, kBlockElements> copied;
  for (std::size_t block = 0; block < task.view->blocks; ++block) {
    const float* const x = block_of(task, vector, block, copied);
    for (std::size_t i = 0; i < kBlockElements; ++i) {
      for (std::size_t lane = 0; lane < lanes; ++lane) out[lane] = lane == 0 && i < kBlockColumns ? x[i] : 0;
      out += width;
    }
  }
}

// The bytes of 16 numbers, those of equal weight together.
template <std::size_t kPlanes>
inline void split_bytes(const int32x4_t (&numbers)[4], uint8x16_t (&planes)[kPlanes]) {
  int16x8_t halves[4];
  for (std::size_t i = 0; i < 4; ++i) halves[i] = vreinterpretq_s16_s32(numbers[i]);
  const uint8x16_t low = vreinterpretq_u8_s16(vuzp1q_s16(halves[0], halves[1]));
  const uint8x16_t next_low = vreinterpretq_u8_s16(vuzp1q_s16(halves[2], halves[3]));
  planes[0] = vuzp1q_u8(low, next_low);
  if constexpr (kPlanes == 3) {
    const uint8x16_t high = vreinterpretq_u8_s16(vuzp2q_s16(halves[0], halves[1]));
    const uint8x16_t next_high = vreinterpretq_u8_s16(vuzp2q_s16(halves[2], halves[3]));
    planes[1] = vuzp2q_u8(low, next_low);
    planes[2] = vuzp1q_u8(high, next_high);
  }
}

template <std::size_t kPlanes>
inline void prepare_integers(const WindowTask& task, std::size_t vector) {
  const std::size_t stride = elements_of(task), columns = task.view->header.columns;
  std::uint8_t* out = task.prepared + vector * kPlanes * stride;
  const bool balanced = first_power(task.arithmetic) > 0;
  const int32x4_t balance = vdupq_n_s32(balanced ? kBalance24 : 0);
  // what is taken from the bytes of each plane, and a number of which nothing remains
  const std::int32_t taken = balanced ? kBalance24 : kPlanes == 1 ? 0 : kPlaneOffset24;
  const float32x4_t per_step = vdupq_n_f32(1 / task.steps[vector]);
  std::array<float, kBlockElements> copied;
  for (std::size_t block = 0; block < task.view->blocks; ++block, out += kBlockElements) {
    const float* const x = block_of(task, vector, block, copied);
    unrolled<kBlockElements / 16>([&](auto part) {
      int32x4_t numbers[4];
      unrolled<4>([&](auto i) {
        const int32x4_t number = vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x + 16 * part() + 4 * i()), per_step));
        numbers[i] = vaddq_s32(number, balance);
      });
      if constexpr (16 * (part() + 1) == kBlockElements) numbers[3] = vsetq_lane_s32(taken, numbers[3], 3);
      uint8x16_t bytes[kPlanes];
      split_bytes(numbers, bytes);
      unrolled<kPlanes>([&](auto plane) {
        const uint8x16_t offset = vdupq_n_u8(static_cast<std::uint8_t>(taken >> (8 * plane())));
        vst1q_u8(out + plane() * stride + 16 * part(), vsubq_u8(bytes[plane], offset));
      });
    });
    const std::size_t count = std::min(kBlockColumns, columns - std::min(block * kBlockColumns, columns));
    if (count == kBlockColumns) continue;
    for (std::size_t plane = 0; plane < kPlanes; ++plane) {
      std::memset(out + plane * stride + count, 0, kBlockElements - count);
    }
  }
}

inline void prepare(const WindowTask& task, std::size_t first, std::size_t last) {
  for (std::size_t v = first; v < last; ++v) {
    if (task.arithmetic == Arithmetic::floats) {
      prepare_floats(task, v);
    } else {
      planes_of(task.arithmetic) == 1 ? prepare_integers<1>(task, v) : prepare_integers<3>(task, v);
    }
  }
}

}  // namespace
}  // namespace dcz
