// The form `window` with AVX2 and FMA: sums in float32.
#include "packed/window/avx2.hpp"

namespace dcz::avx2 {
namespace {

struct FloatSlots {
  __m256 slot[4];  // of 8 rows
};

FloatSlots join(Wide plane0, Wide plane1, Wide plane2, Wide plane3) {
  const Wide low01 = _mm256_unpacklo_epi8(plane0, plane1), low23 = _mm256_unpacklo_epi8(plane2, plane3);
  const Wide high01 = _mm256_unpackhi_epi8(plane0, plane1), high23 = _mm256_unpackhi_epi8(plane2, plane3);
  return {{_mm256_castsi256_ps(_mm256_unpacklo_epi16(low01, low23)),
           _mm256_castsi256_ps(_mm256_unpackhi_epi16(low01, low23)),
           _mm256_castsi256_ps(_mm256_unpacklo_epi16(high01, high23)),
           _mm256_castsi256_ps(_mm256_unpackhi_epi16(high01, high23))}};
}

template <unsigned kCodeBits>
class Floats {
 public:
  static constexpr WindowLayout kWanted = WindowLayout::by_slot;
  static constexpr std::size_t kSettle = 64;  // pairs; one long chain of float sums would lose digits

  explicit Floats(const WindowTask& task) : codebook_(task.view->codebook) {
    for (std::size_t i = 0; i < kCentroids; ++i) {
      for (std::size_t plane = 0; plane < 4; ++plane) {
        std::memcpy(&planes_[plane * kCentroids + i], reinterpret_cast<const std::uint8_t*>(codebook_ + i) + plane, 1);
      }
    }
  }

  struct Weights {
    FloatSlots half[kHalves];
  };

  struct Sums {
    __m256 half[kHalves]{_mm256_setzero_ps(), _mm256_setzero_ps()};
  };

  Weights weights(const Step& codes) const {
    if constexpr (kCodeBits == 8) return {{gathered(codes.half[0]), gathered(codes.half[1])}};
    return joined<kCentroids>(planes_.data(), kCentroids, index_of(codes));
  }

  void add(const std::uint8_t* window, std::size_t plane_bytes, const Index& places, const Weights& weights,
           Sums& sums) const {
    const Weights x = joined<2 * kBlockElements>(window, plane_bytes, places);
    for (std::size_t i = 0; i < kHalves; ++i) {
      // the four slots are summed first, for the same reason
      __m256 four = _mm256_mul_ps(x.half[i].slot[0], weights.half[i].slot[0]);
      for (std::size_t slot = 1; slot < 4; ++slot) {
        four = _mm256_fmadd_ps(x.half[i].slot[slot], weights.half[i].slot[slot], four);
      }
      sums.half[i] = _mm256_add_ps(sums.half[i], four);
    }
  }

  using Totals = std::array<float, kStepRows>;

  static void settle(Sums& sums, Totals& totals) {
    for (std::size_t i = 0; i < kHalves; ++i) {
      float* const rows = totals.data() + i * kHalfRows;
      _mm256_storeu_ps(rows, _mm256_add_ps(_mm256_loadu_ps(rows), sums.half[i]));
    }
    sums = {};
  }

  static float finish(const WindowTask&, std::size_t, float total, float bias) { return total + bias; }

 private:
  static constexpr std::size_t kCentroids = std::size_t{1} << kCodeBits;

  template <std::size_t kEntries>
  static Weights joined(const std::uint8_t* planes, std::size_t plane_bytes, const Index& at) {
    const Step plane0 = look_up<kEntries>(planes, at), plane1 = look_up<kEntries>(planes + plane_bytes, at);
    const Step plane2 = look_up<kEntries>(planes + 2 * plane_bytes, at);
    const Step plane3 = look_up<kEntries>(planes + 3 * plane_bytes, at);
    return {{join(plane0.half[0], plane1.half[0], plane2.half[0], plane3.half[0]),
             join(plane0.half[1], plane1.half[1], plane2.half[1], plane3.half[1])}};
  }

  FloatSlots gathered(Wide codes) const {
    const Wide by_row = transposed(codes), byte = _mm256_set1_epi32(255);
    const auto slot = [&](int bits) {
      return _mm256_i32gather_ps(codebook_, _mm256_and_si256(_mm256_srli_epi32(by_row, bits), byte), 4);
    };
    return {{slot(0), slot(8), slot(16), slot(24)}};
  }

  const float* codebook_;
  alignas(32) std::array<std::uint8_t, 4 * kCentroids> planes_;
};

}  // namespace

void run_floats(const WindowTask& task, std::size_t first, std::size_t last) { run_layout<Floats>(task, first, last); }

}  // namespace dcz::avx2
