// The form `window` in integers, with `sdot`: the four slots of a row at once. For CPUs that have FEAT_DotProd.
#include "packed/window/neon_one_vector.hpp"

namespace dcz {
namespace {

struct DotProducts {
  using Sums = int32x4_t;

  static constexpr bool kJoins = false;

  static void add(Sums& sums, int8x16_t x, int8x16_t digits) { sums = vdotq_s32(sums, x, digits); }
  static int32x4_t rows(const Sums& sums) { return sums; }
};

}  // namespace

void run_window_neon_dot(const WindowTask& task, std::size_t first, std::size_t last) {
  run_integers<DotProducts>(task, first, last);
}

}  // namespace dcz
