// Vectors in, results out: what surrounds the integer kernels of avx512_integers.cpp.
#include "packed/window/avx512_vectors.hpp"

#include "packed/window/avx512_results.hpp"

namespace dcz::avx512 {
namespace {

// A vector of the pass that begins with the vector `begin`.
template <unsigned kPlanes>
void prepare_vector(const WindowTask& task, std::size_t vector, std::size_t begin, std::size_t width) {
  const WindowView& view = *task.view;
  const bool balanced = task.arithmetic == Arithmetic::x24w24;
  const V offset = _mm512_set1_epi32(kPlanes == 1 ? kOffset8 : balanced ? kBalance24 : kOffset24);
  const __m512 per_step = _mm512_set1_ps(1 / task.steps[vector]);
  const float* const x = task.x + vector * view.header.columns;
  std::uint8_t* out = task.prepared + (begin * view.blocks + vector - begin) * kPlanes * kBlockElements;
  for (std::size_t block = 0; block < view.blocks; ++block, out += width * kPlanes * kBlockElements) {
    const __mmask64 there = columns_of(view, block);
    __m512 columns[4];
    load_block(x, block, there, columns);
    V numbers[4], bytes[4];
    for (unsigned i = 0; i < 4; ++i) {
      numbers[i] = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(columns[i], per_step)), offset);
    }
    split_planes(numbers, bytes);
    for (unsigned i = 0; i < kPlanes; ++i) store(out + i * kBlockElements, _mm512_maskz_mov_epi8(there, bytes[i]));
  }
}

}  // namespace

PassWidth pass_width(Arithmetic arithmetic, std::size_t left) {
  const std::size_t most = arithmetic == Arithmetic::x8 ? 16 : arithmetic == Arithmetic::x24w8 ? 8 : 4;
  std::size_t width = most;
  for (const std::size_t smaller : {8, 4, 2, 1}) {
    if (smaller < width && (left <= smaller || 5 * left < 4 * width)) width = smaller;
  }
  return {left < width ? left : width, width};
}

std::size_t plane_bytes(const WindowTask& task) {
  std::size_t width = 0;
  for (std::size_t vector = 0; vector < task.vectors;) {
    const PassWidth pass = pass_width(task.arithmetic, task.vectors - vector);
    vector += pass.vectors;
    width += pass.width;
  }
  return width * planes_of(task.arithmetic) * task.view->blocks * kBlockElements;
}

float* results_of(const WindowTask& task, std::size_t vector) {
  return reinterpret_cast<float*>(task.prepared + plane_bytes(task)) + vector * task.view->header.rows;
}

std::size_t prepared_bytes_integers(const WindowTask& task) {
  return plane_bytes(task) + task.vectors * task.view->header.rows * sizeof(float);
}

void prepare_integers(const WindowTask& task, std::size_t first, std::size_t last) {
  PassWidth pass{0, 0};
  std::size_t begin = 0;
  for (std::size_t v = first; v < last; ++v) {
    while (begin + pass.vectors <= v) {
      begin += pass.vectors;
      pass = pass_width(task.arithmetic, task.vectors - begin);
    }
    if (task.arithmetic == Arithmetic::x8) {
      prepare_vector<1>(task, v, begin, pass.width);
    } else {
      prepare_vector<3>(task, v, begin, pass.width);
    }
  }
}

void finish_integers(const WindowTask& task, std::size_t first_row, std::size_t last_row) {
  const std::size_t rows = task.view->header.rows;
  for (std::size_t vector = 0; vector < task.vectors;) {
    const std::size_t vectors = pass_width(task.arithmetic, task.vectors - vector).vectors;
    if (pass_width(task.arithmetic, task.vectors - vector).width > 1) {
      put_apart(results_of(task, vector), vectors, first_row, last_row, task.y + vector * rows, rows);
    }
    vector += vectors;
  }
}

}  // namespace dcz::avx512
