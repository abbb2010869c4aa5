// The form `panel` with AVX-512: a register holds 16 vectors, or 8 where there are no more. CPUs that split registers
// of 16 in two compute from those of 8 twice as fast.
#include "packed/avx512.hpp"

#include <bit>

#include "packed/panel/eight.hpp"

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

// Up to 16 centroids, in two registers.
struct InHalves {
  __m256 low, high;

  explicit InHalves(const Centroids& centroids)
      : low(_mm256_load_ps(centroids.table)), high(_mm256_load_ps(centroids.table + 8)) {}
};

// A permutation heeds the last 4 bits of an index alone.
__m256 look_up(const InHalves& book, __m256i entries) { return _mm256_permutex2var_ps(book.low, entries, book.high); }

__m256 look_up(const InRegisters& book, __m256i entries) {
  return _mm512_castps512_ps256(_mm512_permutex2var_ps(book.low, _mm512_castsi256_si512(entries), book.high));
}

__m256 look_up(const InMemory& book, __m256i entries) {
  return _mm256_set1_ps(book.table[static_cast<unsigned>(_mm256_cvtsi256_si32(entries)) & 0xff]);
}

// Up to 8 vectors.
struct Avx512Eight : Eight {
  // Bytes from a column to the next.
  static constexpr unsigned kShift = 5;
  static_assert(kLanes * sizeof(float) == 1u << kShift);

  // The elements of the column that is the byte of `entries` from bit kBit on. Rotating needs no copy.
  template <unsigned kBit>
  static Floats column_at(const float* x, std::uint64_t entries) {
    const std::uint64_t bytes = std::rotr(entries, kBit - kShift) & (0xffu << kShift);
    return _mm256_load_ps(reinterpret_cast<const float*>(reinterpret_cast<const char*>(x) + bytes));
  }

  template <typename Book>
  static void add_turn(Floats (&sums)[kQuartet][1], const std::uint16_t* entries, const float* x, const Book& book) {
    std::uint64_t all;
    std::memcpy(&all, entries, sizeof all);
    const __m256i front = _mm256_broadcastd_epi32(_mm_loadu_si32(entries));
    const __m256i back = _mm256_broadcastd_epi32(_mm_loadu_si32(entries + 2));
    sums[0][0] = _mm256_fmadd_ps(look_up(book, front), column_at<8>(x, all), sums[0][0]);
    sums[1][0] = _mm256_fmadd_ps(look_up(book, _mm256_srli_epi32(front, 16)), column_at<24>(x, all), sums[1][0]);
    sums[2][0] = _mm256_fmadd_ps(look_up(book, back), column_at<40>(x, all), sums[2][0]);
    sums[3][0] = _mm256_fmadd_ps(look_up(book, _mm256_srli_epi32(back, 16)), column_at<56>(x, all), sums[3][0]);
  }

  template <int kWide, typename Book>
  static void multiply_quartet(const Quartet& quartet, const float* x, const Book& book) {
    Floats sums[kQuartet][1] = {};
    for (std::size_t turn = 0; turn < quartet.turns; ++turn) {
      add_turn(sums, quartet.entries + kQuartet * turn, x, book);
    }
    add_sums<Avx512Eight>(quartet, 0, sums);
  }
};

bool few(std::size_t vectors) { return vectors <= Avx512Eight::kLanes; }

std::size_t width_avx512(std::size_t vectors) {
  return few(vectors) ? width<Avx512Eight>(vectors) : width<Avx512>(vectors);
}

std::uint64_t prepare_avx512(const PanelTask& task, std::size_t block) {
  return few(task.vectors) ? prepare<Avx512Eight>(task, block) : prepare<Avx512>(task, block);
}

void run_avx512(const PanelTask& task, std::size_t panel, float* sums) {
  const unsigned code_bits = task.view->header.code_bits;
  if (few(task.vectors)) {
    if (code_bits <= 4) return run_wide<Avx512Eight, InHalves, 1>(task, panel, sums);
    if (code_bits <= 5) return run_wide<Avx512Eight, InRegisters, 1>(task, panel, sums);
    return run_wide<Avx512Eight, InMemory, 1>(task, panel, sums);
  }
  if (code_bits <= 5) return run<Avx512, InRegisters>(task, panel, sums);
  return run<Avx512, InMemory>(task, panel, sums);
}

}  // namespace

constinit const PanelKernel kPanelAvx512{64, width_avx512, prepare_avx512, run_avx512};

}  // namespace dcz
