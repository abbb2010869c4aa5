// The form `panel` with AVX2 and FMA: a register holds 8 vectors, a tile four of them.
#include <immintrin.h>

#include "packed/panel/walk.hpp"

namespace dcz {
namespace {

constexpr std::size_t kLanes = 8;

// Rows become columns.
inline void transpose(__m256 (&r)[8]) {
  __m256 t[8];
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    for (int half = 0; half < 2; ++half) {
      const __m256d a = _mm256_castps_pd(t[4 * i + half]), b = _mm256_castps_pd(t[4 * i + 2 + half]);
      r[4 * i + 2 * half] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
      r[4 * i + 2 * half + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
    }
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x20);
    t[4 + i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x31);
  }
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

// What _mm256_maskload_ps and _mm256_maskstore_ps take.
inline __m256i first_lanes(std::size_t count) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(at_most(count, kLanes))), lanes);
}

std::size_t width(std::size_t vectors) { return (vectors + kLanes - 1) / kLanes * kLanes; }

std::uint64_t prepare(const PanelTask& task, std::size_t first, std::size_t last) {
  const std::size_t wide = width(task.vectors), columns = task.view->header.columns;
  std::uint64_t not_finite = 0;
  for (std::size_t number = first; number < last; ++number) {
    const Block<float> block = block_at(*task.view, number, task.prepared, wide);
    for (std::size_t vector = 0; vector < wide; vector += kLanes) {
      const float* const x = task.x + vector * columns + block.begin;
      const std::size_t vectors = at_most(task.vectors - vector, kLanes);
      float* const out = block.prepared + vector;
      __m256 poison = _mm256_setzero_ps();  // 0, or NaN for vectors not finite
      for (std::size_t column = 0; column < block.count; column += kLanes) {
        const std::size_t here = at_most(block.count - column, kLanes);
        const __m256i mask = first_lanes(here);
        __m256 square[8];
        for (std::size_t v = 0; v < kLanes; ++v) {
          square[v] = v < vectors ? _mm256_maskload_ps(x + v * columns + column, mask) : _mm256_setzero_ps();
        }
        transpose(square);
        for (std::size_t i = 0; i < kLanes; ++i) {
          poison = _mm256_fmadd_ps(square[i], _mm256_setzero_ps(), poison);
          if (i < here) _mm256_store_ps(out + (column + i) * wide, square[i]);
        }
      }
      for (std::size_t column = block.count; column <= task.view->shape.block_columns; ++column) {
        _mm256_store_ps(out + column * wide, _mm256_setzero_ps());
      }
      const int found = _mm256_movemask_ps(_mm256_cmp_ps(poison, poison, _CMP_UNORD_Q));
      not_finite |= static_cast<std::uint64_t>(found) << vector;
    }
  }
  return not_finite;
}

// Rows `first` and first + 1 of a quartet: all four would not leave registers enough.
template <int kWide>
inline void multiply_pair(const Quartet& quartet, std::size_t first, const float* x, const float* centroids) {
  __m256 sums[2][kWide];
  for (std::size_t k = 0; k < 2; ++k) {
    for (int j = 0; j < kWide; ++j) sums[k][j] = _mm256_setzero_ps();
  }
  for (std::size_t turn = 0; turn < quartet.turns; ++turn) {
    for (std::size_t k = 0; k < 2; ++k) {
      const unsigned entry = quartet.entries[kQuartet * turn + first + k];
      const __m256 centroid = _mm256_broadcast_ss(centroids + (entry & 0xff));
      const float* const column = x + (entry >> 8) * (kWide * kLanes);
      for (int j = 0; j < kWide; ++j) {
        sums[k][j] = _mm256_fmadd_ps(centroid, _mm256_load_ps(column + 8 * j), sums[k][j]);
      }
    }
  }
  for (std::size_t k = 0; k < 2; ++k) {
    for (int j = 0; j < kWide; ++j) {
      float* const sum = quartet.sums[first + k] + 8 * j;
      _mm256_store_ps(sum, _mm256_add_ps(_mm256_load_ps(sum), sums[k][j]));
    }
  }
}

// The sums of a panel, row by row, to y, vector by vector.
void finish(const PanelTask& task, std::size_t panel, std::size_t wide, const float* sums) {
  const std::size_t rows = task.view->header.rows;
  const auto [first, count] = rows_of(*task.view, panel);
  for (std::size_t row = 0; row < count; row += kLanes) {
    const __m256i lanes = first_lanes(count - row);
    const __m256 bias = task.bias ? _mm256_maskload_ps(task.bias + first + row, lanes) : _mm256_setzero_ps();
    for (std::size_t vector = 0; vector < wide; vector += kLanes) {
      __m256 square[8];
      for (std::size_t i = 0; i < kLanes; ++i) square[i] = _mm256_load_ps(sums + (row + i) * wide + vector);
      transpose(square);
      float* const out = task.y + vector * rows + first + row;
      const std::size_t vectors = at_most(task.vectors - vector, kLanes);
      for (std::size_t i = 0; i < kLanes; ++i) {
        if (i < vectors) _mm256_maskstore_ps(out + i * rows, lanes, _mm256_add_ps(square[i], bias));
      }
    }
  }
}

template <int kWide>
void run_panels(const PanelTask& task, std::size_t first, std::size_t last, float* sums) {
  constexpr std::size_t kWidth = kWide * kLanes;
  const Centroids centroids(*task.view);
  for (std::size_t panel = first; panel < last; ++panel) {
    std::memset(sums, 0, sum_rows(*task.view) * kWidth * sizeof(float));
    visit_quartets(task, panel, kWidth, sums, [&](const Quartet& quartet, const float* x) {
      multiply_pair<kWide>(quartet, 0, x, centroids.table);
      multiply_pair<kWide>(quartet, 2, x, centroids.table);
    });
    finish(task, panel, kWidth, sums);
  }
}

void run(const PanelTask& task, std::size_t first, std::size_t last, float* sums) {
  switch (width(task.vectors) / kLanes) {
    case 1:
      return run_panels<1>(task, first, last, sums);
    case 2:
      return run_panels<2>(task, first, last, sums);
    case 3:
      return run_panels<3>(task, first, last, sums);
    default:
      return run_panels<4>(task, first, last, sums);
  }
}

}  // namespace

constinit const PanelKernel kPanelAvx2{32, width, prepare, run};

}  // namespace dcz
