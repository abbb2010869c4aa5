// The form `window` with AVX2: the scan of vectors, and their byte planes.
#include "packed/window/avx2.hpp"

namespace dcz {
namespace avx2 {
namespace {

// 32 elements of 4 bytes -> 32 bytes of each plane.
void split(const Wide (&elements)[4], std::size_t count, std::uint8_t* out, std::size_t stride) {
  // the bytes of 4 elements side by side: a dword holds a plane of 4 elements
  Wide quads[4];
  for (std::size_t i = 0; i < 4; ++i) quads[i] = transposed(elements[i]);
  const Wide low01 = _mm256_unpacklo_epi32(quads[0], quads[1]), low23 = _mm256_unpacklo_epi32(quads[2], quads[3]);
  const Wide high01 = _mm256_unpackhi_epi32(quads[0], quads[1]), high23 = _mm256_unpackhi_epi32(quads[2], quads[3]);
  const Wide found[4]{_mm256_unpacklo_epi64(low01, low23), _mm256_unpackhi_epi64(low01, low23),
                      _mm256_unpacklo_epi64(high01, high23), _mm256_unpackhi_epi64(high01, high23)};
  const Wide natural = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (std::size_t plane = 0; plane < count; ++plane) {
    store(out + plane * stride, _mm256_permutevar8x32_epi32(found[plane], natural));
  }
}

void prepare_vector(const WindowTask& task, std::size_t v) {
  const std::size_t columns = task.view->header.columns, stride = plane_bytes(task);
  const float* const x = task.x + v * columns;
  std::uint8_t* const out = task.prepared + v * planes_of(task.arithmetic) * stride;
  const bool floats = task.arithmetic == Arithmetic::floats;
  const __m256 per_step = _mm256_set1_ps(1 / task.steps[v]);
  for (std::size_t block = 0; block < task.view->blocks; ++block) {
    alignas(32) std::array<float, kBlockElements> elements{};
    const std::size_t begin = std::min(block * kBlockColumns, columns);
    std::copy(x + begin, x + std::min(begin + kBlockColumns, columns), elements.begin());
    for (std::size_t i = 0; i < kBlockElements; i += 32) {
      Wide parts[4];
      for (std::size_t part = 0; part < 4; ++part) {
        const __m256 values = _mm256_load_ps(elements.data() + i + 8 * part);
        parts[part] = floats ? _mm256_castps_si256(values) : _mm256_cvtps_epi32(_mm256_mul_ps(values, per_step));
      }
      split(parts, planes_of(task.arithmetic), out + block * kBlockElements + i, stride);
    }
  }
}

}  // namespace

Scan scan(const float* x, std::size_t columns) {
  const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 largest = _mm256_setzero_ps(), squares[2] = {largest, largest}, all = _mm256_castsi256_ps(bytes(-1));
  const auto take = [&](__m256 value, __m256& sum) {
    const __m256 magnitude = _mm256_and_ps(value, no_sign);
    largest = _mm256_max_ps(largest, magnitude);
    sum = _mm256_fmadd_ps(value, value, sum);
    all = _mm256_and_ps(all, _mm256_cmp_ps(magnitude, _mm256_set1_ps(3.4028235e38f), _CMP_LE_OQ));
  };
  std::size_t i = 0;
  for (; i + 16 <= columns; i += 16) {
    take(_mm256_loadu_ps(x + i), squares[0]);
    take(_mm256_loadu_ps(x + i + 8), squares[1]);
  }
  for (; i < columns; i += 8) {
    std::array<float, 8> rest{};
    std::copy(x + i, x + std::min(i + 8, columns), rest.begin());
    take(_mm256_loadu_ps(rest.data()), squares[0]);
  }
  std::array<float, 8> most, sums;
  _mm256_storeu_ps(most.data(), largest);
  _mm256_storeu_ps(sums.data(), _mm256_add_ps(squares[0], squares[1]));
  Scan found{0, 0, _mm256_movemask_ps(all) == 0xff};
  for (std::size_t lane = 0; lane < 8; ++lane) {
    found.largest = std::max(found.largest, most[lane]);
    found.squares += sums[lane];
  }
  return found;
}

std::size_t prepared_bytes(const WindowTask& task) {
  return task.vectors * planes_of(task.arithmetic) * plane_bytes(task);
}

void prepare(const WindowTask& task, std::size_t first, std::size_t last) {
  for (std::size_t v = first; v < last; ++v) prepare_vector(task, v);
}

}  // namespace avx2

namespace {

// Floats gain little from several vectors: the look-ups of x take the time, not those of the weights.
std::size_t vectors(const WindowView& view, Arithmetic arithmetic) {
  if (view.one_window() || first_power(arithmetic) > 0) return 0;
  return arithmetic == Arithmetic::floats ? 4 : avx2::kMostVectors;
}

void run(const WindowTask& task, std::size_t first, std::size_t last) {
  task.arithmetic == Arithmetic::floats ? avx2::run_floats(task, first, last) : avx2::run_integers(task, first, last);
}

}  // namespace

constinit const WindowKernel kWindowAvx2{vectors, avx2::scan, avx2::prepared_bytes, avx2::prepare, run, nullptr};

}  // namespace dcz
