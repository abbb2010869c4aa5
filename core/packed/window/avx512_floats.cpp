// The form `window` with AVX-512 in float32: x as the four byte planes of its elements. A step looks 64 bytes up in
// each plane and puts them together again by unpacking; places in the order by_slot then come out as four registers of
// 16 rows, one for each slot.
#include "packed/window/avx512.hpp"
#include "packed/window/avx512_results.hpp"
#include "packed/window/avx512_weights.hpp"

namespace dcz::avx512 {
namespace {

constexpr unsigned kPlanes = kFloatPlanes;
constexpr std::size_t kBlockBytes = kPlanes * kBlockElements;

// Sums of so many pairs go into totals: long float32 sums would lose digits.
constexpr std::size_t kPairsPerSum = 64;

inline void look_up_columns(const std::uint8_t* window, std::size_t block_bytes, V places, __m512 (&slots)[4]) {
  V bytes[kPlanes];
#pragma GCC unroll 4
  for (unsigned plane = 0; plane < kPlanes; ++plane) {
    const std::uint8_t* const table = window + plane * kBlockElements;
    bytes[plane] = _mm512_permutex2var_epi8(load(table), places, load(table + block_bytes));
  }
  join_planes(bytes, slots);
}

// One group for kVectors vectors: as many side by side share the weights of a step.
template <unsigned kCodeBits, bool kTransposed, unsigned kVectors>
inline void add_group(const WindowView& view, std::size_t group, const Weights<kCodeBits>& weights,
                      const std::uint8_t* x, __m512 (&totals)[kVectors]) {
  constexpr std::size_t kPairBytes = kCodeBits == 8 ? 256 : 192, kStride = kVectors * kBlockBytes;
  for (__m512& total : totals) total = _mm512_setzero_ps();
  const std::size_t last = view.last_pair(group);
  for (std::size_t pair = view.first_pair(group); pair < last;) {
    const std::size_t end = last - pair < kPairsPerSum ? last : pair + kPairsPerSum;
    __m512 sums[kVectors][4] = {};
    for (; pair < end; ++pair) {
      const std::uint8_t* const bytes = view.stream + pair * kPairBytes;
      prefetch_pair(bytes, kPairBytes);
      const Steps steps = read_steps<kCodeBits, kTransposed>(bytes);
#pragma GCC unroll 2
      for (unsigned half = 0; half < 2; ++half) {
        const std::uint8_t* const window = x + view.start(2 * pair + half) * kStride;
        __m512 slot_weights[4], columns[4];
        weights.look_up(steps.codes[half], slot_weights);
#pragma GCC unroll 4
        for (unsigned v = 0; v < kVectors; ++v) {
          look_up_columns(window + v * kBlockBytes, kStride, steps.places[half], columns);
#pragma GCC unroll 4
          for (unsigned slot = 0; slot < 4; ++slot) {
            sums[v][slot] = _mm512_fmadd_ps(slot_weights[slot], columns[slot], sums[v][slot]);
          }
        }
      }
    }
    for (unsigned v = 0; v < kVectors; ++v) {
      totals[v] = _mm512_add_ps(
          totals[v], _mm512_add_ps(_mm512_add_ps(sums[v][0], sums[v][1]), _mm512_add_ps(sums[v][2], sums[v][3])));
    }
  }
}

// Vectors are taken 4, 2 and 1 at a time, and lie so in memory: [vectors of a pass][block][vector][plane].
std::size_t pass_width(std::size_t left) { return left >= 4 ? 4 : left >= 2 ? 2 : 1; }

template <unsigned kCodeBits, bool kTransposed, unsigned kVectors>
void run_pass(const WindowTask& task, std::size_t vector, std::size_t first, std::size_t last) {
  const WindowView& view = *task.view;
  const Weights<kCodeBits> weights(view.codebook);
  const std::uint8_t* const x = task.prepared + vector * view.blocks * kBlockBytes;
  for (std::size_t group = first; group < last; ++group) {
    __m512 totals[kVectors];
    add_group<kCodeBits, kTransposed, kVectors>(view, group, weights, x, totals);
    const __m512 bias = bias_of(task, group);
    for (unsigned v = 0; v < kVectors; ++v) {
      alignas(64) float results[kStepRows];
      _mm512_store_ps(results, _mm512_add_ps(totals[v], bias));
      put_rows(task, group, results, task.y + (vector + v) * view.header.rows);
    }
  }
}

template <unsigned kCodeBits, bool kTransposed>
void run_passes(const WindowTask& task, std::size_t first, std::size_t last) {
  for (std::size_t vector = 0; vector < task.vectors;) {
    const std::size_t width = pass_width(task.vectors - vector);
    switch (width) {
      case 4:
        run_pass<kCodeBits, kTransposed, 4>(task, vector, first, last);
        break;
      case 2:
        run_pass<kCodeBits, kTransposed, 2>(task, vector, first, last);
        break;
      default:
        run_pass<kCodeBits, kTransposed, 1>(task, vector, first, last);
    }
    vector += width;
  }
}

}  // namespace

std::size_t prepared_bytes_floats(const WindowTask& task) { return task.vectors * task.view->blocks * kBlockBytes; }

void prepare_floats(const WindowTask& task, std::size_t first, std::size_t last) {
  const WindowView& view = *task.view;
  std::size_t begin = 0;
  for (std::size_t v = first; v < last; ++v) {
    while (begin + pass_width(task.vectors - begin) <= v) begin += pass_width(task.vectors - begin);
    const std::size_t width = pass_width(task.vectors - begin);
    std::uint8_t* const out = task.prepared + (begin * view.blocks + (v - begin)) * kBlockBytes;
    for (std::size_t block = 0; block < view.blocks; ++block) {
      __m512 columns[4];
      load_block(task.x + v * view.header.columns, block, columns_of(view, block), columns);
      V numbers[4], planes[kPlanes];
      for (unsigned i = 0; i < 4; ++i) numbers[i] = _mm512_castps_si512(columns[i]);
      split_planes(numbers, planes);
      for (unsigned i = 0; i < kPlanes; ++i) store(out + block * width * kBlockBytes + i * kBlockElements, planes[i]);
    }
  }
}

void run_floats(const WindowTask& task, std::size_t first, std::size_t last) {
  const bool transposed = task.view->slots() != SlotOrder::by_slot;
  switch (task.view->header.code_bits) {
    case 4:
      return transposed ? run_passes<4, true>(task, first, last) : run_passes<4, false>(task, first, last);
    case 5:
      return transposed ? run_passes<5, true>(task, first, last) : run_passes<5, false>(task, first, last);
    default:
      return transposed ? run_passes<8, true>(task, first, last) : run_passes<8, false>(task, first, last);
  }
}

}  // namespace dcz::avx512
