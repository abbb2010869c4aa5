// The form `tile` with AVX-512: 64 columns a step. Needs F, BW, VL, DQ, VBMI and VBMI2.
//
// A step expands codes to their columns, then looks centroids up.
#include "packed/tile/avx512.hpp"

#include "packed/tile/kernel.hpp"

namespace dcz {
namespace {

constexpr std::size_t kStep = 64;

// The bits of the last `count` columns, fewer than 64, of a row.
inline std::uint64_t last_bits(const std::uint8_t* bits, std::size_t count) {
  const auto bytes = static_cast<__mmask16>((1u << (count + 7) / 8) - 1);
  const auto word = static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_maskz_loadu_epi8(bytes, bits)));
  return _bzhi_u64(word, static_cast<unsigned>(count));
}

template <bool kNibbles>
inline void decode_row(const TileView& view, const Planes& planes, std::size_t row, float* out) {
  const std::size_t columns = view.header.columns, survivors = view.header.survivors;
  const std::uint8_t* bits = view.bitmap + row * view.row_bytes;
  std::size_t code = view.starts[row], column = 0;
  __m512 floats[4];
  const auto step = [&](std::uint64_t survive) {
    code = code < survivors ? code : survivors;
    const V codes = load_codes<kNibbles>(view.codes, code);
    look_up(planes, _mm512_maskz_expand_epi8(survive, codes), survive, floats);
    code += static_cast<std::size_t>(_mm_popcnt_u64(survive));
  };
  for (; column + kStep <= columns; column += kStep, bits += 8) {
    std::uint64_t survive;
    __builtin_memcpy(&survive, bits, 8);
    step(survive);
    for (unsigned i = 0; i < 4; ++i) _mm512_storeu_ps(out + column + 16 * i, floats[i]);
  }
  if (column == columns) return;
  step(last_bits(bits, columns - column));
  const std::uint64_t there = _bzhi_u64(~std::uint64_t{0}, static_cast<unsigned>(columns - column));
  for (unsigned i = 0; i < 4; ++i) {
    _mm512_mask_storeu_ps(out + column + 16 * i, static_cast<__mmask16>(there >> (16 * i)), floats[i]);
  }
}

}  // namespace

void decode_tile_avx512(const TileTask& task, std::size_t begin, std::size_t end) {
  const TileView& view = *task.view;
  const Planes planes = planes_of(view.codebook, std::size_t{1} << view.header.code_bits);
  each_row(task, begin, end,
           [&](auto nibbles, std::size_t row, float* out) { decode_row<nibbles()>(view, planes, row, out); });
}

}  // namespace dcz
