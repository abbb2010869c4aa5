// The form `window` with AVX-512 in float32: x as the four byte planes of its elements. A step looks up 64 bytes in
// each plane and joins them by unpacking. Places in the order by_slot give four registers of 16 rows, one for each
// slot.
#include "packed/window/avx512.hpp"

namespace dcz::avx512 {
namespace {

constexpr unsigned kPlanes = 4;
constexpr std::size_t kBlockBytes = kPlanes * kBlockElements;

// So many pairs are summed up before they are added to the totals: long float32 sums would lose digits.
constexpr std::size_t kPairsPerSum = 64;

// The codebook: looks 64 codes up, slot by slot.
template <unsigned kCodeBits>
class Weights {
 public:
  explicit Weights(const float* codebook)
      : low_(_mm512_loadu_ps(codebook)), high_(kCodeBits == 5 ? _mm512_loadu_ps(codebook + 16) : low_) {}
  void look_up(V codes, __m512 (&slots)[4]) const {
#pragma GCC unroll 4
    for (unsigned slot = 0; slot < 4; ++slot) {
      const V code = slot == 0 ? codes : _mm512_srli_epi32(codes, 8 * slot);
      slots[slot] = kCodeBits == 5 ? _mm512_permutex2var_ps(low_, code, high_) : _mm512_permutexvar_ps(code, low_);
    }
  }

 private:
  __m512 low_, high_;
};

template <>
class Weights<8> {
 public:
  explicit Weights(const float* codebook) {
    for (unsigned i = 0; i < 4; ++i) {
      V numbers[4], planes[4];
      for (unsigned j = 0; j < 4; ++j) numbers[j] = load(codebook + 64 * i + 16 * j);
      split_planes(numbers, planes);
      for (unsigned plane = 0; plane < kPlanes; ++plane) store(tables_[plane] + 64 * i, planes[plane]);
    }
  }
  void look_up(V codes, __m512 (&slots)[4]) const {
    const V by_slot = transpose(codes);
    V bytes[kPlanes];
#pragma GCC unroll 4
    for (unsigned plane = 0; plane < kPlanes; ++plane) bytes[plane] = look_up_256(tables_[plane], by_slot);
    join_planes(bytes, slots);
  }

 private:
  alignas(64) std::uint8_t tables_[kPlanes][256];
};

template <bool kOneWindow>
inline void look_up_columns(const std::uint8_t* window, std::size_t block_bytes, V places, __m512 (&slots)[4]) {
  V bytes[kPlanes];
#pragma GCC unroll 4
  for (unsigned plane = 0; plane < kPlanes; ++plane) {
    bytes[plane] = Window<kOneWindow>(window + plane * kBlockElements, block_bytes).look_up(places);
  }
  join_planes(bytes, slots);
}

// One group for kVectors vectors, which share the weights of a step. With one window, each step has other rows, and
// sums of its own.
template <unsigned kCodeBits, WindowLayout kLayout, unsigned kVectors, unsigned kHalves>
inline void add_group(const WindowView& view, std::size_t group, const Weights<kCodeBits>& weights,
                      const std::uint8_t* x, __m512 (&totals)[kHalves][kVectors]) {
  constexpr bool kOneWindow = kHalves == 2, kTransposed = kLayout != WindowLayout::by_slot;
  constexpr std::size_t kPairBytes = pair_bytes(kCodeBits), kStride = kVectors * kBlockBytes;
  for (auto& half : totals) {
    for (__m512& total : half) total = _mm512_setzero_ps();
  }
  const std::size_t last = view.last_pair(group);
  for (std::size_t pair = view.first_pair(group); pair < last;) {
    const std::size_t end = last - pair < kPairsPerSum ? last : pair + kPairsPerSum;
    __m512 sums[kHalves][kVectors][4] = {};
    for (; pair < end; ++pair) {
      const std::uint8_t* const bytes = view.stream + pair * kPairBytes;
      prefetch_pair(bytes, kPairBytes);
      const Steps steps = read_steps<kCodeBits, kTransposed, kOneWindow>(bytes, view.fifths + 16 * pair);
#pragma GCC unroll 2
      for (unsigned step = 0; step < 2; ++step) {
        const std::uint8_t* const window = x + view.start(kOneWindow ? pair : 2 * pair + step) * kStride;
        __m512 slot_weights[4], columns[4];
        weights.look_up(steps.codes[step], slot_weights);
#pragma GCC unroll 4
        for (unsigned v = 0; v < kVectors; ++v) {
          __m512(&own)[4] = sums[step % kHalves][v];
          look_up_columns<kOneWindow>(window + v * kBlockBytes, kStride, steps.places[step], columns);
#pragma GCC unroll 4
          for (unsigned slot = 0; slot < 4; ++slot)
            own[slot] = _mm512_fmadd_ps(slot_weights[slot], columns[slot], own[slot]);
        }
      }
    }
    for (unsigned half = 0; half < kHalves; ++half) {
      for (unsigned v = 0; v < kVectors; ++v) {
        const __m512(&own)[4] = sums[half][v];
        const __m512 sum = _mm512_add_ps(_mm512_add_ps(own[0], own[1]), _mm512_add_ps(own[2], own[3]));
        totals[half][v] = _mm512_add_ps(totals[half][v], sum);
      }
    }
  }
}

// A pass takes 4, 2 or 1 vectors. Memory has the same order: [pass][block][vector][plane].
std::size_t pass_width(std::size_t left) { return left >= 4 ? 4 : left >= 2 ? 2 : 1; }

template <unsigned kCodeBits, WindowLayout kLayout, unsigned kVectors>
void run_pass(const WindowTask& task, std::size_t vector, std::size_t first, std::size_t last) {
  constexpr unsigned kHalves = kLayout == WindowLayout::one_window ? 2 : 1;
  const WindowView& view = *task.view;
  const Weights<kCodeBits> weights(view.codebook);
  const std::uint8_t* const x = task.prepared + vector * view.blocks * kBlockBytes;
  for (std::size_t group = first; group < last; ++group) {
    __m512 totals[kHalves][kVectors];
    add_group<kCodeBits, kLayout>(view, group, weights, x, totals);
    for (unsigned half = 0; half < kHalves; ++half) {
      const std::size_t sixteen = kHalves * group + half;
      const __m512 bias = bias_of(task, sixteen);
      for (unsigned v = 0; v < kVectors; ++v) {
        put_rows(task, sixteen, _mm512_add_ps(totals[half][v], bias), task.y + (vector + v) * view.header.rows);
      }
    }
  }
}

template <unsigned kCodeBits, WindowLayout kLayout>
void run_passes(const WindowTask& task, std::size_t first, std::size_t last) {
  if constexpr (kLayout == WindowLayout::one_window) return run_pass<kCodeBits, kLayout, 1>(task, 0, first, last);
  for (std::size_t vector = 0; vector < task.vectors;) {
    const std::size_t width = pass_width(task.vectors - vector);
    if (width == 4) run_pass<kCodeBits, kLayout, 4>(task, vector, first, last);
    if (width == 2) run_pass<kCodeBits, kLayout, 2>(task, vector, first, last);
    if (width == 1) run_pass<kCodeBits, kLayout, 1>(task, vector, first, last);
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
  by_layout<WindowLayout::by_row, WindowLayout::by_slot, WindowLayout::one_window>(
      *task.view, [&](auto code_bits, auto layout) { run_passes<code_bits(), layout()>(task, first, last); });
}

}  // namespace dcz::avx512
