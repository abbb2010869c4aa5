// The form `panel` with AVX-512: a register holds 16 vectors, a tile four of them.
#include <immintrin.h>

#include "packed/panel/walk.hpp"
#include "packed/segments/square_avx512.hpp"

namespace dcz {
namespace {

using avx512::first_lanes, avx512::transpose;

constexpr std::size_t kLanes = avx512::kSquare;

std::size_t width(std::size_t vectors) { return (vectors + kLanes - 1) / kLanes * kLanes; }

// A square of 16 columns by 16 vectors from `first_vector` on.
inline void load_square(const PanelTask& task, std::size_t first_vector, std::size_t column, __mmask16 columns,
                        __m512 (&square)[16]) {
  const float* const x = task.x + first_vector * task.view->header.columns + column;
  const std::size_t vectors = at_most(task.vectors - first_vector, kLanes);
  for (std::size_t v = 0; v < kLanes; ++v) {
    square[v] = v < vectors ? _mm512_maskz_loadu_ps(columns, x + v * task.view->header.columns) : _mm512_setzero_ps();
  }
}

std::uint64_t prepare(const PanelTask& task, std::size_t first, std::size_t last) {
  const std::size_t wide = width(task.vectors), block_columns = task.view->shape.block_columns;
  std::uint64_t not_finite = 0;
  for (std::size_t number = first; number < last; ++number) {
    const Block<float> block = block_at(*task.view, number, task.prepared, wide);
    for (std::size_t vector = 0; vector < wide; vector += kLanes) {
      __m512 poison[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};  // 0, or NaN for vectors not finite
      float* const out = block.prepared + vector;
      for (std::size_t column = 0; column < block.count; column += kLanes) {
        const std::size_t here = at_most(block.count - column, kLanes);
        __m512 square[16];
        load_square(task, vector, block.begin + column, first_lanes(here), square);
        transpose(square);
        for (std::size_t i = 0; i < kLanes; ++i) {
          poison[i % 2] = _mm512_fmadd_ps(square[i], _mm512_setzero_ps(), poison[i % 2]);
          if (i < here) _mm512_store_ps(out + (column + i) * wide, square[i]);
        }
      }
      for (std::size_t column = block.count; column <= block_columns; ++column) {
        _mm512_store_ps(out + column * wide, _mm512_setzero_ps());
      }
      not_finite |= std::uint64_t{_mm512_cmp_ps_mask(poison[0], poison[1], _CMP_UNORD_Q)} << vector;
    }
  }
  return not_finite;
}

// The centroids of two entries, in all lanes.
struct Pair {
  __m512 first, second;
};

// A codebook of up to 32 centroids, in registers.
struct InRegisters {
  __m512 low, high;

  explicit InRegisters(const Centroids& centroids)
      : low(_mm512_load_ps(centroids.table)), high(_mm512_load_ps(centroids.table + 16)) {}

  // `entries` has one in each half. A permutation heeds the last 5 bits of an index alone.
  Pair pair(std::uint32_t entries) const {
    const __m512i first = _mm512_set1_epi32(static_cast<int>(entries)), second = _mm512_srli_epi32(first, 16);
    return {_mm512_permutex2var_ps(low, first, high), _mm512_permutex2var_ps(low, second, high)};
  }
};

struct InMemory {
  const float* table;

  explicit InMemory(const Centroids& centroids) : table(centroids.table) {}

  Pair pair(std::uint32_t entries) const {
    return {_mm512_set1_ps(table[entries & 0xff]), _mm512_set1_ps(table[entries >> 16 & 0xff])};
  }
};

template <int kWide>
inline void add_column(__m512 (&sums)[kWide], __m512 centroid, const float* x, std::size_t column) {
  const float* const at = x + column * (kWide * kLanes);
  for (int j = 0; j < kWide; ++j) sums[j] = _mm512_fmadd_ps(centroid, _mm512_load_ps(at + 16 * j), sums[j]);
}

template <int kWide, typename Book>
inline void multiply_quartet(const Quartet& quartet, const float* x, const Book& book) {
  __m512 sums[kQuartet][kWide];
  for (std::size_t k = 0; k < kQuartet; ++k) {
    for (int j = 0; j < kWide; ++j) sums[k][j] = _mm512_setzero_ps();
  }
  for (std::size_t turn = 0; turn < quartet.turns; ++turn) {
    std::uint64_t entries;
    std::memcpy(&entries, quartet.entries + kQuartet * turn, sizeof entries);
    const Pair front = book.pair(static_cast<std::uint32_t>(entries));
    const Pair back = book.pair(static_cast<std::uint32_t>(entries >> 32));
    add_column<kWide>(sums[0], front.first, x, entries >> 8 & 0xff);
    add_column<kWide>(sums[1], front.second, x, entries >> 24 & 0xff);
    add_column<kWide>(sums[2], back.first, x, entries >> 40 & 0xff);
    add_column<kWide>(sums[3], back.second, x, entries >> 56);
  }
  for (std::size_t k = 0; k < kQuartet; ++k) {
    for (int j = 0; j < kWide; ++j) {
      float* const sum = quartet.sums[k] + 16 * j;
      _mm512_store_ps(sum, _mm512_add_ps(_mm512_load_ps(sum), sums[k][j]));
    }
  }
}

// The sums of a panel, row by row, to y, vector by vector.
void finish(const PanelTask& task, std::size_t panel, std::size_t wide, const float* sums) {
  const std::size_t rows = task.view->header.rows;
  const auto [first, count] = rows_of(*task.view, panel);
  for (std::size_t row = 0; row < count; row += kLanes) {
    const __mmask16 lanes = first_lanes(count - row);
    const __m512 bias = task.bias ? _mm512_maskz_loadu_ps(lanes, task.bias + first + row) : _mm512_setzero_ps();
    for (std::size_t vector = 0; vector < wide; vector += kLanes) {
      __m512 square[16];
      for (std::size_t i = 0; i < kLanes; ++i) square[i] = _mm512_load_ps(sums + (row + i) * wide + vector);
      transpose(square);
      float* const out = task.y + vector * rows + first + row;
      const std::size_t vectors = at_most(task.vectors - vector, kLanes);
      for (std::size_t i = 0; i < kLanes; ++i) {
        if (i < vectors) _mm512_mask_storeu_ps(out + i * rows, lanes, _mm512_add_ps(square[i], bias));
      }
    }
  }
}

template <int kWide, typename Book>
void run_panels(const PanelTask& task, std::size_t first, std::size_t last, float* sums) {
  constexpr std::size_t kWidth = kWide * kLanes;
  const Centroids centroids(*task.view);
  const Book book(centroids);
  for (std::size_t panel = first; panel < last; ++panel) {
    std::memset(sums, 0, sum_rows(*task.view) * kWidth * sizeof(float));
    visit_quartets(task, panel, kWidth, sums,
                   [&](const Quartet& quartet, const float* x) { multiply_quartet<kWide>(quartet, x, book); });
    finish(task, panel, kWidth, sums);
  }
}

template <typename Book>
void run_with(const PanelTask& task, std::size_t first, std::size_t last, float* sums) {
  switch (width(task.vectors) / kLanes) {
    case 1:
      return run_panels<1, Book>(task, first, last, sums);
    case 2:
      return run_panels<2, Book>(task, first, last, sums);
    case 3:
      return run_panels<3, Book>(task, first, last, sums);
    default:
      return run_panels<4, Book>(task, first, last, sums);
  }
}

void run(const PanelTask& task, std::size_t first, std::size_t last, float* sums) {
  if (task.view->header.code_bits <= 5) return run_with<InRegisters>(task, first, last, sums);
  return run_with<InMemory>(task, first, last, sums);
}

}  // namespace

constinit const PanelKernel kPanelAvx512{64, width, prepare, run};

}  // namespace dcz
