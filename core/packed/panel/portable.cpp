// The form `panel` in portable C++: a tile of 16 vectors. Compilers find the registers.
#include "packed/panel/scalar.hpp"

namespace dcz {
namespace {

struct PortableQuartet {
  // Inlined, GCC would cut the 16 sums into registers of 4, 4, 2, 4 and 2.
  [[gnu::noinline]] static void multiply(const Quartet& quartet, const float* x, const float* centroids) {
    for (std::size_t k = 0; k < kQuartet; ++k) {
      float sums[kWidth] = {};
      for (std::size_t turn = 0; turn < quartet.turns; ++turn) {
        const unsigned entry = quartet.entries[kQuartet * turn + k];
        const float centroid = centroids[entry & 0xff];
        const float* const column = x + (entry >> 8) * kWidth;
        for (std::size_t v = 0; v < kWidth; ++v) sums[v] += centroid * column[v];
      }
      for (std::size_t v = 0; v < kWidth; ++v) quartet.sums[k][v] += sums[v];
    }
  }
};

}  // namespace

constinit const PanelKernel kPanelPortable{kWidth, width, prepare, run<PortableQuartet>};

}  // namespace dcz
