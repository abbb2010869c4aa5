// The form `panel` with AVX2 and FMA: a register holds 8 vectors.
#include "packed/panel/eight.hpp"

namespace dcz {
namespace {

struct Avx2 : Eight {
  // Two rows of a quartet: four would need more registers than there are.
  template <int kWide>
  static void multiply_pair(const Quartet& quartet, std::size_t first, const float* x, const float* centroids) {
    Floats sums[2][kWide];
    for (std::size_t k = 0; k < 2; ++k) {
      for (int j = 0; j < kWide; ++j) sums[k][j] = _mm256_setzero_ps();
    }
    for (std::size_t turn = 0; turn < quartet.turns; ++turn) {
      for (std::size_t k = 0; k < 2; ++k) {
        const unsigned entry = quartet.entries[kQuartet * turn + first + k];
        const Floats centroid = _mm256_broadcast_ss(centroids + (entry & 0xff));
        const float* const column = x + (entry >> 8) * (kWide * kLanes);
        for (int j = 0; j < kWide; ++j) {
          sums[k][j] = _mm256_fmadd_ps(centroid, _mm256_load_ps(column + 8 * j), sums[k][j]);
        }
      }
    }
    add_sums<Avx2>(quartet, first, sums);
  }

  template <int kWide>
  static void multiply_quartet(const Quartet& quartet, const float* x, const InMemory& book) {
    multiply_pair<kWide>(quartet, 0, x, book.table);
    multiply_pair<kWide>(quartet, 2, x, book.table);
  }
};

}  // namespace

constinit const PanelKernel kPanelAvx2{32, width<Avx2>, prepare<Avx2>, run<Avx2, InMemory>};

}  // namespace dcz
