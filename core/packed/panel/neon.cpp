// The form `panel` with NEON: four registers hold 16 vectors, and 16 of the 32 the sums of a quartet.
#include <arm_neon.h>

#include "packed/panel/scalar.hpp"

namespace dcz {
namespace {

constexpr std::size_t kRegisters = kWidth / 4;

struct NeonQuartet {
  static void multiply(const Quartet& quartet, const float* x, const float* centroids) {
    float32x4_t sums[kQuartet][kRegisters];
    for (std::size_t k = 0; k < kQuartet; ++k) {
      for (std::size_t i = 0; i < kRegisters; ++i) sums[k][i] = vdupq_n_f32(0);
    }
    for (std::size_t turn = 0; turn < quartet.turns; ++turn) {
      for (std::size_t k = 0; k < kQuartet; ++k) {
        const unsigned entry = quartet.entries[kQuartet * turn + k];
        const float32x4_t centroid = vdupq_n_f32(centroids[entry & 0xff]);
        const float* const column = x + (entry >> 8) * kWidth;
        for (std::size_t i = 0; i < kRegisters; ++i) {
          sums[k][i] = vfmaq_f32(sums[k][i], centroid, vld1q_f32(column + 4 * i));
        }
      }
    }
    for (std::size_t k = 0; k < kQuartet; ++k) {
      for (std::size_t i = 0; i < kRegisters; ++i) {
        float* const sum = quartet.sums[k] + 4 * i;
        vst1q_f32(sum, vaddq_f32(vld1q_f32(sum), sums[k][i]));
      }
    }
  }
};

}  // namespace

constinit const PanelKernel kPanelNeon{kWidth, width, prepare, run<NeonQuartet>};

}  // namespace dcz
