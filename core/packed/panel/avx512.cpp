// The form `panel` with AVX-512: a register holds 16 vectors.
#include "packed/avx512.hpp"

#include "packed/panel/registers.hpp"

namespace dcz {
namespace {

// The centroids of two entries, in all lanes. `entries` has one in each half.
struct Pair {
  __m512 first, second;
};

// A codebook of up to 32 centroids, in registers.
struct InRegisters {
  __m512 low, high;

  explicit InRegisters(const Centroids& centroids)
      : low(_mm512_load_ps(centroids.table)), high(_mm512_load_ps(centroids.table + 16)) {}
};

// A permutation heeds the last 5 bits of an index alone.
inline Pair pair_of(const InRegisters& book, std::uint32_t entries) {
  const __m512i first = _mm512_set1_epi32(static_cast<int>(entries)), second = _mm512_srli_epi32(first, 16);
  return {_mm512_permutex2var_ps(book.low, first, book.high), _mm512_permutex2var_ps(book.low, second, book.high)};
}

inline Pair pair_of(const InMemory& book, std::uint32_t entries) {
  return {_mm512_set1_ps(book.table[entries & 0xff]), _mm512_set1_ps(book.table[entries >> 16 & 0xff])};
}

struct Avx512 {
  static constexpr std::size_t kLanes = avx512::kSquare;
  using Floats = __m512;

  static __mmask16 first_lanes(std::size_t count) { return avx512::first_lanes(count); }
  static Floats load(const float* from) { return _mm512_load_ps(from); }
  static Floats load(const float* from, __mmask16 lanes) { return _mm512_maskz_loadu_ps(lanes, from); }
  static void store(float* to, Floats value) { _mm512_store_ps(to, value); }
  static void store(float* to, __mmask16 lanes, Floats value) { _mm512_mask_storeu_ps(to, lanes, value); }
  static Floats add_product(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }
  static unsigned not_numbers(Floats values) { return _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q); }
  static void transpose(Floats (&square)[kLanes]) { avx512::transpose(square); }

  template <int kWide>
  static void add_column(Floats (&sums)[kWide], Floats centroid, const float* x, std::size_t column) {
    const float* const at = x + column * (kWide * kLanes);
    for (int j = 0; j < kWide; ++j) sums[j] = _mm512_fmadd_ps(centroid, _mm512_load_ps(at + 16 * j), sums[j]);
  }

  template <int kWide, typename Book>
  static void multiply_quartet(const Quartet& quartet, const float* x, const Book& book) {
    Floats sums[kQuartet][kWide];
    for (std::size_t k = 0; k < kQuartet; ++k) {
      for (int j = 0; j < kWide; ++j) sums[k][j] = _mm512_setzero_ps();
    }
    for (std::size_t turn = 0; turn < quartet.turns; ++turn) {
      std::uint64_t entries;
      std::memcpy(&entries, quartet.entries + kQuartet * turn, sizeof entries);
      const Pair front = pair_of(book, static_cast<std::uint32_t>(entries));
      const Pair back = pair_of(book, static_cast<std::uint32_t>(entries >> 32));
      add_column<kWide>(sums[0], front.first, x, entries >> 8 & 0xff);
      add_column<kWide>(sums[1], front.second, x, entries >> 24 & 0xff);
      add_column<kWide>(sums[2], back.first, x, entries >> 40 & 0xff);
      add_column<kWide>(sums[3], back.second, x, entries >> 56);
    }
    add_sums<Avx512>(quartet, 0, sums);
  }
};

void run_avx512(const PanelTask& task, std::size_t panel, float* sums) {
  if (task.view->header.code_bits <= 5) return run<Avx512, InRegisters>(task, panel, sums);
  return run<Avx512, InMemory>(task, panel, sums);
}

}  // namespace

constinit const PanelKernel kPanelAvx512{64, width<Avx512>, prepare<Avx512>, run_avx512};

}  // namespace dcz
