// Writes lanes in AVX-512 registers: 64 symbols, eight lanes' turns, at once. Needs F, BW, VL, DQ and VBMI.
#include <immintrin.h>

#include "lanes/scalar_encode.hpp"

namespace dcz {
namespace {

using V = __m512i;

constexpr std::size_t kLookedUp = 128;  // symbols that two registers can hold
constexpr std::size_t kTogether = 8;    // lanes

inline V load(const void* from) { return _mm512_loadu_si512(from); }

// A table of 128 bytes.
struct Bytes128 {
  V low, high;
  explicit Bytes128(const std::uint8_t* bytes) : low(load(bytes)), high(load(bytes + 64)) {}
  V at(V index) const { return _mm512_permutex2var_epi8(low, index, high); }
};

// Codes of at most 7 bits, and their lengths. Bit 7 of the length marks an exception.
struct Tables {
  std::uint8_t codes[kLookedUp], lengths[kLookedUp];

  explicit Tables(const LaneTable& table) {
    for (std::size_t s = 0; s < kLookedUp; ++s) {
      codes[s] = static_cast<std::uint8_t>(table.pieces[s]);
      lengths[s] = static_cast<std::uint8_t>((table.pieces[s] >> 16 & 7) | (table.pieces[s] & kException ? 0x80 : 0));
    }
  }
};

// In each of eight 64-bit parts, the codes of its eight symbols one behind the other, and their bits.
inline void join(V& codes, V& lengths) {
  const V low8 = _mm512_set1_epi16(0xff), low16 = _mm512_set1_epi32(0xffff), low32 = _mm512_set1_epi64(0xffffffff);
  V first = _mm512_and_si512(lengths, low8);
  codes = _mm512_or_si512(_mm512_and_si512(codes, low8), _mm512_sllv_epi16(_mm512_srli_epi16(codes, 8), first));
  lengths = _mm512_add_epi16(first, _mm512_srli_epi16(lengths, 8));
  first = _mm512_and_si512(lengths, low16);
  codes = _mm512_or_si512(_mm512_and_si512(codes, low16), _mm512_sllv_epi32(_mm512_srli_epi32(codes, 16), first));
  lengths = _mm512_add_epi32(first, _mm512_srli_epi32(lengths, 16));
  first = _mm512_and_si512(lengths, low32);
  codes = _mm512_or_si512(_mm512_and_si512(codes, low32), _mm512_sllv_epi64(_mm512_srli_epi64(codes, 32), first));
  lengths = _mm512_add_epi64(first, _mm512_srli_epi64(lengths, 32));
}

// All whole rounds of a narrow segment. Gives the number of turns written.
std::size_t write_rounds(const LaneTable& table, std::span<const std::uint8_t> symbols, LaneWriter* lanes,
                         std::uint8_t* turns) {
  const Tables bytes(table);
  const Bytes128 codes_of(bytes.codes), lengths_of(bytes.lengths);
  const std::size_t rounds = symbols.size() / kNarrow.round();
  alignas(64) std::uint64_t pending[kLanes] = {}, pending_bits[kLanes] = {};
  std::uint8_t* out[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) out[i] = lanes[i].out;
  const std::uint8_t* from = symbols.data();
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t lane = 0; lane < kLanes; lane += kTogether, from += 64, turns += kTogether) {
      const V index = load(from), flagged = lengths_of.at(index);
      V codes = codes_of.at(index), lengths = _mm512_and_si512(flagged, _mm512_set1_epi8(7));
      join(codes, lengths);
      const V before = load(pending_bits + lane);
      const V bits = _mm512_or_si512(load(pending + lane), _mm512_sllv_epi64(codes, before));
      const V width = _mm512_add_epi64(before, lengths), whole = _mm512_srli_epi64(width, 3);
      _mm512_store_si512(pending + lane, _mm512_srlv_epi64(bits, _mm512_slli_epi64(whole, 3)));
      _mm512_store_si512(pending_bits + lane, _mm512_and_si512(width, _mm512_set1_epi64(7)));
      const __mmask8 odd = _mm512_test_epi64_mask(flagged, _mm512_set1_epi8(static_cast<char>(0x80)));
      const V marks = _mm512_mask_or_epi64(whole, odd, whole, _mm512_set1_epi64(kOddTurn));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(turns), _mm512_cvtepi64_epi8(marks));
      alignas(64) std::uint64_t stored[kTogether], steps[kTogether];
      _mm512_store_si512(stored, bits);
      _mm512_store_si512(steps, whole);
#pragma GCC unroll 8
      for (std::size_t i = 0; i < kTogether; ++i) {
        store_le64(out[lane + i], stored[i]);
        out[lane + i] += steps[i];
      }
    }
  }
  for (std::size_t i = 0; i < kLanes; ++i) lanes[i] = {out[i], pending[i], pending_bits[i]};
  return rounds * kLanes;
}

}  // namespace

void write_lanes_avx512(const LaneTable& table, std::span<const std::uint8_t> symbols, const LaneBuffers& buffers) {
  LaneWriter lanes[kLanes];
  begin_lanes(lanes, buffers);
  const bool fits = table.layout.turn == kNarrow.turn && table.symbols_below <= kLookedUp;
  write_rest(table, symbols, fits ? write_rounds(table, symbols, lanes, buffers.turns) : 0, lanes, buffers.turns);
}

}  // namespace dcz
