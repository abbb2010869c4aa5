// The form `window` in integers, with the instructions of every aarch64: products of bytes have 16 bits, and two
// neighbours are added to 32.
#include "packed/window/neon_one_vector.hpp"

namespace dcz {
namespace {

struct LongProducts {
  // Two rows each: two neighbouring lanes belong to one row.
  struct Sums {
    int32x4_t low, high;
  };

  static void add(Sums& sums, int8x16_t x, int8x16_t digits) {
    sums.low = vpadalq_s16(sums.low, vmull_s8(vget_low_s8(x), vget_low_s8(digits)));
    sums.high = vpadalq_s16(sums.high, vmull_high_s8(x, digits));
  }

  // Two products at once: their sum has 16 bits.
  static constexpr bool kJoins = true;

  static void add_two(Sums& sums, int8x16_t x, int8x16_t digits, int8x16_t other_x, int8x16_t other_digits) {
    const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(digits)), high = vmull_high_s8(x, digits);
    sums.low = vpadalq_s16(sums.low, vmlal_s8(low, vget_low_s8(other_x), vget_low_s8(other_digits)));
    sums.high = vpadalq_s16(sums.high, vmlal_high_s8(high, other_x, other_digits));
  }

  static int32x4_t rows(const Sums& sums) { return vpaddq_s32(sums.low, sums.high); }
};

}  // namespace

void run_window_neon_long(const WindowTask& task, std::size_t first, std::size_t last) {
  run_integers<LongProducts>(task, first, last);
}

}  // namespace dcz
