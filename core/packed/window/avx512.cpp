// The form `window` with AVX-512: needs F, BW, VL, DQ, VBMI, VBMI2 and VNNI.
//
// `vpermi2b` looks up the 64 columns of a step in its window at once, in planes of bytes: x as the four bytes of its
// float32 (avx512_floats.cpp), or as the bytes of fixed point (avx512_integers.cpp).
#include "packed/window/avx512.hpp"

namespace dcz {
namespace {

using avx512::V;

// The bits of magnitudes have the order of the magnitudes. Infinities and NaNs come last.
Scan scan(const float* x, std::size_t columns) {
  const V magnitude_bits = _mm512_set1_epi32(0x7fffffff);
  V largest[4] = {};
  __m512 squares[4] = {};
  for (std::size_t i = 0; i < columns; i += 64) {
    const std::size_t left = columns - i;
    const __mmask64 there = left < 64 ? (std::uint64_t{1} << left) - 1 : ~std::uint64_t{0};
    for (unsigned part = 0; part < 4; ++part) {
      const __m512 some = _mm512_maskz_loadu_ps(static_cast<__mmask16>(there >> (16 * part)), x + i + 16 * part);
      largest[part] = _mm512_max_epi32(largest[part], _mm512_and_si512(_mm512_castps_si512(some), magnitude_bits));
      squares[part] = _mm512_fmadd_ps(some, some, squares[part]);
    }
  }
  const int most = _mm512_reduce_max_epi32(
      _mm512_max_epi32(_mm512_max_epi32(largest[0], largest[1]), _mm512_max_epi32(largest[2], largest[3])));
  const float sum =
      _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(squares[0], squares[1]), _mm512_add_ps(squares[2], squares[3])));
  constexpr int kInfinity = 0x7f800000;
  return {_mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(most))), sum, most < kInfinity};
}

bool integers(const WindowTask& task) { return task.arithmetic != Arithmetic::floats; }

std::size_t vectors(const WindowView& view, Arithmetic arithmetic) {
  if (view.one_window()) return 1;
  switch (arithmetic) {
    case Arithmetic::floats:
      return 4;
    case Arithmetic::x8:
      return 64;
    case Arithmetic::x24w8:
      return 16;
    case Arithmetic::x24w16:
      return 8;
    default:
      return 1;
  }
}

std::size_t prepared_bytes(const WindowTask& task) {
  return integers(task) ? avx512::prepared_bytes_integers(task) : avx512::prepared_bytes_floats(task);
}

void prepare(const WindowTask& task, std::size_t first, std::size_t last) {
  integers(task) ? avx512::prepare_integers(task, first, last) : avx512::prepare_floats(task, first, last);
}

void run(const WindowTask& task, std::size_t first, std::size_t last) {
  if (!integers(task)) return avx512::run_floats(task, first, last);
  task.view->one_window() || first_power(task.arithmetic) > 0 ? avx512::run_one_vector(task, first, last)
                                                              : avx512::run_integers(task, first, last);
}

void finish(const WindowTask& task, std::size_t first_row, std::size_t last_row) {
  if (integers(task)) avx512::finish_integers(task, first_row, last_row);
}

}  // namespace

constinit const WindowKernel kWindowAvx512{vectors, scan, prepared_bytes, prepare, run, finish};

}  // namespace dcz
