// Decodes lanes in AVX-512 registers: 64 lanes a step, three segments in turns to hide the latencies. Needs F, BW, VL,
// DQ, VBMI and VBMI2.
//
// In memory a segment's windows lie lane after lane, 8 lanes a register. For decoding they are transposed into words:
// word[h][w] holds bits 16w .. 16w+15 of 32 lanes, of half h = 0 or 1. A byte register over all lanes has the bytes of
// half 0 at even places and those of half 1 at odd ones. These places are called slots.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "lanes/lanes.hpp"

namespace dcz {
namespace {

using V = __m512i;

constexpr unsigned kWords = 4;
constexpr unsigned kRegisters = 8;  // of windows in memory order

// The slot where the transposition puts a lane.
constexpr unsigned slot_of(unsigned lane) {
  const unsigned half = lane / 32, row = lane / 8 % 4, column = lane % 8;
  return 2 * (8 * (column / 2) + 4 * (row / 2) + 2 * (column % 2) + row % 2) + half;
}

struct Constants {
  alignas(64) std::uint8_t slot_of_lane[64];
  alignas(64) std::uint8_t repeat[kRegisters][64];  // each of 8 lanes' bytes, 8 times
  alignas(64) std::uint8_t byte_in_pair[64];        // 0..15, for shuffles within 128 bits
  alignas(64) std::uint8_t fresh_from[64];          // a byte of a window is fresh if this many bytes slide in, or more
};

constexpr Constants make_constants() {
  Constants c{};
  for (unsigned i = 0; i < 64; ++i) {
    c.slot_of_lane[i] = static_cast<std::uint8_t>(slot_of(i));
    c.byte_in_pair[i] = i % 16;
    c.fresh_from[i] = static_cast<std::uint8_t>(8 - i % 8);
    for (unsigned r = 0; r < kRegisters; ++r) c.repeat[r][i] = static_cast<std::uint8_t>(8 * r + i / 8);
  }
  return c;
}

constexpr Constants kConstants = make_constants();

inline V load(const void* from) { return _mm512_loadu_si512(from); }
inline void store(void* to, V value) { _mm512_storeu_si512(to, value); }

// One segment on its way.
struct Strand {
  alignas(64) std::uint8_t windows[kRegisters][64];
  const std::uint8_t* next;
  std::uint8_t* out;
  V word[2][kWords];
  V used;       // by slot: bits used of the window, in the rounds before
  V turn_bits;  // by slot: bits used in this round
};

// The windows' words, without the bits of their first byte that the rounds before have used.
inline void transpose_windows(Strand& s, const V (&z)[kRegisters]) {
  const V shift[2] = {s.used, _mm512_srli_epi16(s.used, 8)};
  for (unsigned h = 0; h < 2; ++h) {
    const V* const half = z + 4 * h;
    const V u0 = _mm512_unpacklo_epi16(half[0], half[1]), u1 = _mm512_unpackhi_epi16(half[0], half[1]);
    const V u2 = _mm512_unpacklo_epi16(half[2], half[3]), u3 = _mm512_unpackhi_epi16(half[2], half[3]);
    const V v0 = _mm512_unpacklo_epi32(u0, u1), v1 = _mm512_unpackhi_epi32(u0, u1);
    const V v2 = _mm512_unpacklo_epi32(u2, u3), v3 = _mm512_unpackhi_epi32(u2, u3);
    const V w0 = _mm512_unpacklo_epi64(v0, v2), w1 = _mm512_unpackhi_epi64(v0, v2);
    const V w2 = _mm512_unpacklo_epi64(v1, v3), w3 = _mm512_unpackhi_epi64(v1, v3);
    s.word[h][0] = _mm512_shrdv_epi16(w0, w1, shift[h]);
    s.word[h][1] = _mm512_shrdv_epi16(w1, w2, shift[h]);
    s.word[h][2] = _mm512_shrdv_epi16(w2, w3, shift[h]);
    s.word[h][3] = _mm512_shrdv_epi16(w3, _mm512_setzero_si512(), shift[h]);
  }
  s.turn_bits = _mm512_setzero_si512();
}

inline void first_windows(Strand& s) {
  V z[kRegisters];
  for (unsigned r = 0; r < kRegisters; ++r) z[r] = load(s.windows[r]);
  transpose_windows(s, z);
}

// Slides the used bytes out of every window and as many bytes of the segment in.
inline void slide_windows(Strand& s) {
  const V used = _mm512_add_epi8(s.used, s.turn_bits);
  s.used = _mm512_and_si512(used, _mm512_set1_epi8(7));
  const V bytes_by_slot = _mm512_and_si512(_mm512_srli_epi16(used, 3), _mm512_set1_epi8(7));
  const V bytes = _mm512_permutexvar_epi8(load(kConstants.slot_of_lane), bytes_by_slot);
  alignas(64) std::uint64_t sums[kRegisters];
  _mm512_store_si512(sums, _mm512_sad_epu8(bytes, _mm512_setzero_si512()));
  const V byte_in_pair = load(kConstants.byte_in_pair), fresh_from = load(kConstants.fresh_from);
  V z[kRegisters];
#pragma GCC unroll 8
  for (unsigned r = 0; r < kRegisters; ++r) {
    const V count = _mm512_permutexvar_epi8(load(kConstants.repeat[r]), bytes);
    const V slid = _mm512_shuffle_epi8(load(s.windows[r]), _mm512_add_epi8(count, byte_in_pair));
    z[r] = _mm512_mask_expand_epi8(slid, _mm512_cmpge_epu8_mask(count, fresh_from), load(s.next));
    s.next += sums[r];
    store(s.windows[r], z[r]);
  }
  transpose_windows(s, z);
}

// Takes `length` bits (by slot) off the words. Later steps look at `kNeeded` of these.
template <unsigned kNeeded>
inline void take_bits(Strand& s, V length) {
  s.turn_bits = _mm512_add_epi8(s.turn_bits, length);
  const V by_half[2] = {length, _mm512_srli_epi16(length, 8)};
  for (unsigned h = 0; h < 2; ++h) {
    for (unsigned w = 0; w < kNeeded; ++w) {
      const V above = w + 1 < kWords ? s.word[h][w + 1] : _mm512_setzero_si512();
      s.word[h][w] = _mm512_shrdv_epi16(s.word[h][w], above, by_half[h]);
    }
  }
}

constexpr __mmask64 kEvenBytes = 0x5555555555555555;

// Bits 0..7 of every lane, by slot.
inline V low_bytes(const Strand& s) {
  return _mm512_mask_mov_epi8(_mm512_slli_epi16(s.word[1][0], 8), kEvenBytes, s.word[0][0]);
}

// The next 7 bits -> symbol and length.
struct NarrowTable {
  static constexpr unsigned kTurn = 8;
  V symbol[2], length[2];

  explicit NarrowTable(const LaneCode& code) {
    alignas(64) std::uint8_t symbols[128], lengths[128];
    for (unsigned i = 0; i < 128; ++i) {
      symbols[i] = static_cast<std::uint8_t>(code.singles[i] >> 8);
      lengths[i] = static_cast<std::uint8_t>(code.singles[i]);
    }
    for (unsigned i = 0; i < 2; ++i) {
      symbol[i] = load(symbols + 64 * i);
      length[i] = load(lengths + 64 * i);
    }
  }

  template <unsigned kNeeded>
  V step(Strand& s) const {
    const V index = low_bytes(s);  // the look-ups ignore bit 7
    const V symbols = _mm512_permutex2var_epi8(symbol[0], index, symbol[1]);
    take_bits<kNeeded>(s, _mm512_permutex2var_epi8(length[0], index, length[1]));
    return symbols;
  }
};

// A table of 256 bytes.
struct Bytes256 {
  V part[4];

  explicit Bytes256(const std::uint8_t* bytes) {
    for (unsigned i = 0; i < 4; ++i) part[i] = load(bytes + 64 * i);
  }
  V at(V index) const {
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), _mm512_permutex2var_epi8(part[0], index, part[1]),
                                  _mm512_permutex2var_epi8(part[2], index, part[3]));
  }
};

// The next 8 bits -> length and number of the first code that begins with them. The further bits of a longer code are
// added to that number. The code's number -> symbol.
class WideTable {
 public:
  static constexpr unsigned kTurn = 4;

  explicit WideTable(const LaneCode& code) : WideTable(make_arrays(code)) {}

  template <unsigned kNeeded>
  V step(Strand& s) const {
    const V index = low_bytes(s);
    const V behind = _mm512_mask_mov_epi8(s.word[1][0], kEvenBytes, _mm512_srli_epi16(s.word[0][0], kPrefixBits));
    const V lengths = length_.at(index);
    const V extra = _mm512_and_si512(behind, _mm512_shuffle_epi8(extra_mask_, lengths));
    const V number = _mm512_add_epi8(first_.at(index), extra);
    take_bits<kNeeded>(s, lengths);
    return symbol_.at(number);
  }

 private:
  struct Arrays {
    std::uint8_t first[256], length[256], symbol[256], extra_mask[64];
  };

  static Arrays make_arrays(const LaneCode& code) {
    Arrays made{};
    unsigned next = 0;
    int number_of[256];  // by symbol: of its code, or of the first one with its prefix
    for (int& number : number_of) number = -1;
    for (unsigned prefix = 0; prefix < 256; ++prefix) {
      const unsigned bits = code.singles[prefix] & 0xffu, symbol = code.singles[prefix] >> 8;
      made.length[prefix] = static_cast<std::uint8_t>(bits);
      if (number_of[symbol] < 0) {
        number_of[symbol] = static_cast<int>(next);
        const unsigned codes = bits > kPrefixBits ? 1u << (bits - kPrefixBits) : 1;
        for (unsigned extra = 0; extra < codes; ++extra) {
          made.symbol[next++] = static_cast<std::uint8_t>(code.singles[prefix | extra << kPrefixBits] >> 8);
        }
      }
      made.first[prefix] = static_cast<std::uint8_t>(number_of[symbol]);
    }
    for (unsigned bits = kPrefixBits + 1; bits < 16; ++bits) {
      for (unsigned i = 0; i < 4; ++i) {
        made.extra_mask[16 * i + bits] = static_cast<std::uint8_t>((1u << (bits - kPrefixBits)) - 1);
      }
    }
    return made;
  }

  explicit WideTable(const Arrays& arrays)
      : first_(arrays.first), length_(arrays.length), symbol_(arrays.symbol), extra_mask_(load(arrays.extra_mask)) {}

  Bytes256 first_, length_, symbol_;
  V extra_mask_;
};

// Steps of slots -> turns of lanes, 8 symbols a lane.
inline void store_round(const V (&x)[8], std::uint8_t* out) {
  V a[8], b[8], m[8];
  for (unsigned i = 0; i < 4; ++i) {
    a[2 * i] = _mm512_unpacklo_epi8(x[2 * i], x[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi8(x[2 * i], x[2 * i + 1]);
  }
  for (unsigned i = 0; i < 2; ++i) {
    for (unsigned j = 0; j < 2; ++j) {
      b[4 * i + 2 * j] = _mm512_unpacklo_epi16(a[4 * i + j], a[4 * i + j + 2]);
      b[4 * i + 2 * j + 1] = _mm512_unpackhi_epi16(a[4 * i + j], a[4 * i + j + 2]);
    }
  }
  for (unsigned i = 0; i < 4; ++i) {
    m[2 * i] = _mm512_unpacklo_epi32(b[i], b[i + 4]);
    m[2 * i + 1] = _mm512_unpackhi_epi32(b[i], b[i + 4]);
  }
  // Of each 128 bits, the lower 64 are a lane of half 0, the upper of half 1.
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned from = 4 * (i / 2) + i % 2;
    store(out + 64 * i, _mm512_unpacklo_epi64(m[from], m[from + 2]));
    store(out + 64 * i + 256, _mm512_unpackhi_epi64(m[from], m[from + 2]));
  }
}

// The same with 4 symbols a lane.
inline void store_round(const V (&x)[4], std::uint8_t* out) {
  const V a0 = _mm512_unpacklo_epi8(x[0], x[1]), a1 = _mm512_unpackhi_epi8(x[0], x[1]);
  const V a2 = _mm512_unpacklo_epi8(x[2], x[3]), a3 = _mm512_unpackhi_epi8(x[2], x[3]);
  const V b[4] = {_mm512_unpacklo_epi16(a0, a2), _mm512_unpackhi_epi16(a0, a2), _mm512_unpacklo_epi16(a1, a3),
                  _mm512_unpackhi_epi16(a1, a3)};
  const V half0 = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), half1 = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
  for (unsigned i = 0; i < 2; ++i) {
    const V low = _mm512_unpacklo_epi32(b[2 * i], b[2 * i + 1]), high = _mm512_unpackhi_epi32(b[2 * i], b[2 * i + 1]);
    store(out + 64 * i, _mm512_permutex2var_epi64(low, half0, high));
    store(out + 64 * i + 128, _mm512_permutex2var_epi64(low, half1, high));
  }
}

template <unsigned kStep, unsigned kCount, typename Table>
inline void decode_steps(const Table& table, Strand* strands, V (&symbols)[kCount][Table::kTurn]) {
  if constexpr (kStep < Table::kTurn) {
    // The words that later steps need: the last one looks at the lower half of the first word, or all of it.
    constexpr unsigned kBitsLeft = (Table::kTurn - 1 - kStep) * (Table::kTurn == 8 ? 7 : 14);
    constexpr unsigned kNeeded = kBitsLeft == 0 ? 0 : std::min(kWords, (kBitsLeft + 15) / 16);
    for (unsigned i = 0; i < kCount; ++i) symbols[i][kStep] = table.template step<kNeeded>(strands[i]);
    decode_steps<kStep + 1, kCount>(table, strands, symbols);
  }
}

// The unused bits of a strand's windows, by lane.
void leave(const Strand& s, LaneState& state) {
  alignas(64) std::uint8_t used[64];
  store(used, _mm512_add_epi8(s.used, s.turn_bits));
  alignas(64) std::uint64_t windows[kLanes];
  std::copy_n(&s.windows[0][0], sizeof windows, reinterpret_cast<std::uint8_t*>(windows));
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    state.used_bits[lane] = used[slot_of(lane)];
    state.unused[lane] = windows[lane] >> state.used_bits[lane];
  }
  state.next = s.next;
}

template <unsigned kCount, typename Table>
[[gnu::noinline]] bool decode_strands(const LaneCode& code, const Table& given, const LaneSegment* segments,
                                      const std::uint8_t* readable_end) {
  const Table table = given;
  Strand strands[kCount];
  LaneState state;
  std::size_t rounds = ~std::size_t{0};
  for (unsigned i = 0; i < kCount; ++i) {
    if (!start_lanes(segments[i], state)) return false;
    std::copy_n(segments[i].begin, sizeof strands[i].windows, &strands[i].windows[0][0]);
    strands[i].next = state.next;
    strands[i].out = segments[i].symbols;
    strands[i].used = _mm512_setzero_si512();
    first_windows(strands[i]);
    rounds = std::min(rounds, segments[i].count / code.layout.round());
  }
  // At most 7 bytes a lane slide in, and the last load takes 64.
  const std::uint8_t* const last = readable_end - kLanes * 7 - 64;
  std::size_t round = 0;
  while (round < rounds) {
    V symbols[kCount][Table::kTurn];
    decode_steps<0, kCount>(table, strands, symbols);
    for (unsigned i = 0; i < kCount; ++i) {
      store_round(symbols[i], strands[i].out);
      strands[i].out += kLanes * Table::kTurn;
    }
    bool within = true;
    for (unsigned i = 0; i < kCount; ++i) within &= strands[i].next <= last;
    if (++round == rounds || !within) break;
    for (unsigned i = 0; i < kCount; ++i) slide_windows(strands[i]);
  }
  bool exact = true;
  for (unsigned i = 0; i < kCount; ++i) {
    leave(strands[i], state);
    exact &= finish_lanes(code, segments[i], state, round * code.layout.round());
  }
  return exact;
}

template <unsigned kTogether, typename Table>
bool decode_all(const LaneCode& code, std::span<const LaneSegment> segments, const std::uint8_t* readable_end) {
  const Table table(code);
  std::size_t i = 0;
  bool exact = true;
  for (; i + kTogether <= segments.size(); i += kTogether) {
    exact &= decode_strands<kTogether>(code, table, &segments[i], readable_end);
  }
  for (; i < segments.size(); ++i) exact &= decode_strands<1>(code, table, &segments[i], readable_end);
  return exact;
}

}  // namespace

bool decode_lanes_avx512(const LaneCode& code, std::span<const LaneSegment> segments,
                         const std::uint8_t* readable_end) {
  if (code.layout.turn == kNarrow.turn) return decode_all<3, NarrowTable>(code, segments, readable_end);
  return decode_all<2, WideTable>(code, segments, readable_end);
}

}  // namespace dcz
