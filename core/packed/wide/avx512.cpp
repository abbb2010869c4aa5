// The form `wide` with AVX-512: the vector brought into planes of bytes, four for floats, one for x8, three for x24.
#include "packed/wide/avx512.hpp"

namespace dcz {
namespace {

using avx512::V;

std::size_t planes_of(WideArithmetic arithmetic) {
  return arithmetic == WideArithmetic::x8 ? 1 : arithmetic == WideArithmetic::x24 ? 3 : 4;
}

std::size_t prepared_bytes(const WideTask& task) {
  return task.view->blocks * planes_of(task.arithmetic) * kBlockElements;
}

// `number`: 16 elements of x -> what their bytes are taken from. Columns that there are not get the byte 0.
template <unsigned kPlanes, typename Number>
void prepare_planes(const WideTask& task, const Number& number) {
  const WideView& view = *task.view;
  std::uint8_t* out = task.prepared;
  for (std::size_t block = 0; block < view.blocks; ++block, out += kPlanes * kBlockElements) {
    const __mmask64 there = avx512::columns_of(view, block);
    __m512 columns[4];
    avx512::load_block(task.x, block, there, columns);
    V numbers[4], bytes[4];
    for (unsigned i = 0; i < 4; ++i) numbers[i] = number(columns[i]);
    avx512::split_planes(numbers, bytes);
    for (unsigned i = 0; i < kPlanes; ++i) {
      avx512::store(out + i * kBlockElements, _mm512_maskz_mov_epi8(there, bytes[i]));
    }
  }
}

void prepare(const WideTask& task) {
  if (task.arithmetic == WideArithmetic::floats) {
    return prepare_planes<4>(task, [](__m512 x) { return _mm512_castps_si512(x); });
  }
  const bool x8 = task.arithmetic == WideArithmetic::x8;
  const __m512 per_step = _mm512_set1_ps(1 / task.step);
  const V balance = _mm512_set1_epi32(x8 ? kBalance : kBalance24);
  const auto fixed = [&](__m512 x) {
    return _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x, per_step)), balance);
  };
  x8 ? prepare_planes<1>(task, fixed) : prepare_planes<3>(task, fixed);
}

void run(const WideTask& task, std::size_t first, std::size_t last) {
  task.arithmetic == WideArithmetic::floats ? avx512::run_wide_floats(task, first, last)
                                            : avx512::run_wide_integers(task, first, last);
}

Scan scan(const float* x, std::size_t columns) { return kWindowAvx512.scan(x, columns); }

}  // namespace

constinit const WideKernel kWideAvx512{scan, prepared_bytes, prepare, run};

}  // namespace dcz
