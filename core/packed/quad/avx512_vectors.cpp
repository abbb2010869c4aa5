// Vectors in, results out, for the kernel of avx512.cpp.
#include "packed/quad/avx512.hpp"

namespace dcz::avx512 {
namespace {

constexpr std::size_t kLanes = kSquare;

// Puts the lowest byte of each number into byte kByte of its lane.
template <int kByte>
inline V put_byte(V bytes, V number) {
  constexpr auto kThere = static_cast<__mmask64>(0x1111111111111111u << kByte);
  return _mm512_mask_mov_epi8(bytes, kThere, _mm512_slli_epi32(number, 8 * kByte));
}

// A vector of the task, or zeros behind the last.
struct Source {
  const float* x;
  float per_step;
};

inline Source source_of(const QuadTask& task, std::size_t vector) {
  if (vector >= task.vectors) return {nullptr, 0};
  return {task.x + vector * task.view->header.columns, 1 / task.steps[vector]};
}

inline V fixed_point(const Source& source, std::size_t column, __mmask16 there) {
  if (!source.x) return _mm512_setzero_si512();
  const __m512 x = _mm512_maskz_loadu_ps(there, source.x + column);
  return _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(source.per_step)));
}

// Columns that are prepared together: their bytes, four vectors to a lane, stay in the first cache.
constexpr std::size_t kChunk = 128;

// Prefetches the next four vectors: a chunk has too little of each for the CPU to foresee them. Where x does not fit
// into the second cache, this halves the time.
inline void fetch_four(const QuadTask& task, std::size_t vector, std::size_t column) {
  const std::size_t columns = task.view->header.columns;
  if (column >= columns) return;
  for (std::size_t i = 0; i < 4; ++i) {
    const std::size_t there = at_most(vector + i, task.vectors - 1);
    _mm_prefetch(reinterpret_cast<const char*>(task.x + there * columns + column), _MM_HINT_T0);
  }
}

// Four vectors, from `vector` on: their bytes side by side for each column.
inline void pack_four(const QuadTask& task, std::size_t vector, std::size_t column, std::size_t count, V* out) {
  const Source source[4] = {source_of(task, vector), source_of(task, vector + 1), source_of(task, vector + 2),
                            source_of(task, vector + 3)};
  const bool last = vector + 4 >= task.vectors;
  const std::size_t next_vector = last ? 0 : vector + 4, next_column = last ? column + kChunk : column;
  const V offset = _mm512_set1_epi8(static_cast<char>(kOffset8));
  for (std::size_t done = 0; done < count; done += kLanes) {
    fetch_four(task, next_vector, next_column + done);
    const __mmask16 there = first_lanes(count - done);
    V bytes = fixed_point(source[0], column + done, there);
    bytes = put_byte<1>(bytes, fixed_point(source[1], column + done, there));
    bytes = put_byte<2>(bytes, fixed_point(source[2], column + done, there));
    bytes = put_byte<3>(bytes, fixed_point(source[3], column + done, there));
    store(out + done / kLanes, _mm512_add_epi8(bytes, offset));
  }
}

// As finish_integer.
inline __m512 results_of(V totals, double unit, __m512 bias) {
  const __m512d by = _mm512_set1_pd(unit);
  const __m256 low = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(totals)), by));
  const __m256 high = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(totals, 1)), by));
  return _mm512_add_ps(_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1), bias);
}

}  // namespace

void prepare_quad(const QuadTask& task, std::size_t number) {
  const Block<std::uint8_t> block = block_at(*task.view, number, task.prepared, kQuadVectors);
  alignas(64) V fours[16][kChunk / kLanes];
  for (std::size_t first = 0; first < block.count; first += kChunk) {
    const std::size_t count = at_most(block.count - first, kChunk);
    // four vectors -> 4 * l + k, the lane of the bytes 16 * l + 4 * k on
    for (std::size_t four = 0; four < 16; ++four) {
      pack_four(task, 4 * four, block.begin + first, count, fours[4 * (four % 4) + four / 4]);
    }
    for (std::size_t done = 0; done < count; done += kLanes) {
      V square[16];
      for (std::size_t i = 0; i < 16; ++i) square[i] = fours[i][done / kLanes];
      transpose(square);
      std::uint8_t* const out = block.prepared + (first + done) * kQuadVectors;
      const std::size_t here = at_most(count - done, kLanes);
      for (std::size_t i = 0; i < 16; ++i) {
        if (i < here) store(out + i * kQuadVectors, square[i]);
      }
    }
  }
  for (std::size_t column = block.count; column <= task.view->shape.block_columns; ++column) {
    store(block.prepared + column * kQuadVectors, _mm512_setzero_si512());
  }
}

void finish_quad(const QuadTask& task, std::size_t panel, const std::uint8_t* sums) {
  const QuadView& view = *task.view;
  const PanelRows rows = rows_of(view, panel);
  double units[kQuadVectors];
  for (std::size_t i = 0; i < task.vectors; ++i) {
    units[i] = static_cast<double>(task.steps[i]) * static_cast<double>(view.header.scale8);
  }
  for (std::size_t vector = 0; vector < task.vectors; vector += kLanes) {
    const std::size_t vectors = at_most(task.vectors - vector, kLanes);
    for (std::size_t row = 0; row < rows.count; row += kLanes) {
      const __mmask16 there = first_lanes(rows.count - row);
      const std::size_t at = rows.first + row;
      const __m512 bias = task.bias ? _mm512_maskz_loadu_ps(there, task.bias + at) : _mm512_setzero_ps();
      const V offset = _mm512_mullo_epi32(_mm512_maskz_loadu_epi32(there, view.sums + at), _mm512_set1_epi32(kOffset8));
      V square[16];
      for (std::size_t i = 0; i < 16; ++i) square[i] = load(sums + ((row + i) * kQuadVectors + vector) * sizeof(int));
      transpose(square);
      for (std::size_t i = 0; i < 16; ++i) {
        if (i >= vectors) continue;
        _mm512_mask_storeu_ps(task.y + (vector + i) * view.header.rows + at, there,
                              results_of(_mm512_sub_epi32(square[i], offset), units[vector + i], bias));
      }
    }
  }
}

}  // namespace dcz::avx512
