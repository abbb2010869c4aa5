/* Packs a matrix, slice by slice: first its survivors as pairs of gap and code, then words of
 * src/network/packed.ts. */
#include "compute.h"

#define DCZ_MOST 256u
#define DCZ_SLOTS 1024u
#define DCZ_LONG 255u /* a gap of 0 stands for so many columns without a survivor */

/* A pair: gap from the survivor before, or from column -1, in the low 8 bits; code in the high 8.
 */
static struct {
  uint32_t cols, column, last; /* `last` is the column behind the survivor before */
  uint32_t pairs, row, survivors, distinct;
  uint32_t bits[DCZ_MOST];   /* of each value, in order of arrival */
  uint16_t slots[DCZ_SLOTS]; /* code + 1 by hash of the bits */
} state;

void DCZ_EXPORT(pack_begin)(uint32_t cols) {
  memset(&state, 0, sizeof state);
  state.cols = cols;
}

static uint32_t dcz_code(uint32_t bits) {
  uint32_t slot = (bits * 2654435769u) >> 22;
  while (state.slots[slot] != 0) {
    const uint32_t code = state.slots[slot] - 1u;
    if (state.bits[code] == bits) return code;
    slot = (slot + 1) % DCZ_SLOTS;
  }
  if (state.distinct == DCZ_MOST) return DCZ_MOST;
  state.bits[state.distinct] = bits;
  state.slots[slot] = (uint16_t)++state.distinct;
  return state.distinct - 1;
}

/* Takes the next weights, as float32; `pairs` has room for 1 + count pairs, and `starts` for every
 * row that begins. Returns the number of pairs, or 2^32 - 1 at the 257th distinct survivor. */
uint32_t DCZ_EXPORT(pack_slice)(const uint32_t *weights, uint32_t count, uint16_t *pairs,
                                uint32_t *starts) {
  uint16_t *out = pairs;
  for (uint32_t i = 0; i < count; ++i) {
    if (state.column == 0) starts[state.row++] = state.pairs + (uint32_t)(out - pairs);
    const uint32_t bits = weights[i];
    const uint32_t gap = ++state.column - state.last;
    if (bits != 0) {
      const uint32_t code = dcz_code(bits);
      if (code == DCZ_MOST) return 0xffffffffu;
      *out++ = (uint16_t)(gap | code << 8);
      state.last = state.column;
      ++state.survivors;
    } else if (gap == DCZ_LONG) {
      *out++ = 0;
      state.last = state.column;
    }
    if (state.column == state.cols) state.column = state.last = 0;
  }
  state.pairs += (uint32_t)(out - pairs);
  return (uint32_t)(out - pairs);
}

uint32_t DCZ_EXPORT(pack_survivors)(void) { return state.survivors; }
uint32_t DCZ_EXPORT(pack_distinct)(void) { return state.distinct; }

/* Codes by the order of their values: numbers up, -0 before 0 and NaNs at the ends. Writes the
 * codebook. */
void DCZ_EXPORT(pack_sort)(uint16_t *pairs, uint32_t *codebook) {
  uint8_t at[DCZ_MOST], code[DCZ_MOST];
  for (uint32_t i = 0; i < state.distinct; ++i) {
    /* as integers, negative numbers go down: turned over, they go up */
    const uint32_t bits = state.bits[i];
    const uint32_t key = bits >> 31 ? ~bits : bits | 0x80000000u;
    uint32_t place = i;
    for (; place > 0; --place) {
      const uint32_t other = state.bits[at[place - 1]];
      if ((other >> 31 ? ~other : other | 0x80000000u) < key) break;
      at[place] = at[place - 1];
    }
    at[place] = (uint8_t)i;
  }
  for (uint32_t i = 0; i < state.distinct; ++i) {
    codebook[i] = state.bits[at[i]];
    code[at[i]] = (uint8_t)i;
  }
  for (uint32_t i = 0; i < state.pairs; ++i)
    if ((pairs[i] & 255u) != 0)
      pairs[i] = (uint16_t)((pairs[i] & 255u) | (uint32_t)code[pairs[i] >> 8] << 8);
}

/* The words that each row needs. */
void DCZ_EXPORT(pack_measure)(const uint16_t *pairs, const uint32_t *starts, uint32_t rows,
                              uint32_t per_word, uint32_t skip_bits, uint32_t *words) {
  const uint32_t step = (1u << skip_bits) - 1u;
  for (uint32_t row = 0; row < rows; ++row) {
    uint32_t entries = 0, gap = 0;
    for (uint32_t i = starts[row]; i < starts[row + 1]; ++i) {
      const uint32_t short_gap = pairs[i] & 255u;
      gap += short_gap != 0 ? short_gap : DCZ_LONG;
      if (short_gap == 0) continue;
      entries += gap <= step ? 1u : 1u + (gap - 1u) / step;
      gap = 0;
    }
    words[row] = (entries + per_word - 1u) / per_word;
  }
}

/* Writes one row in its block: `words` of it, of which those behind its survivors hold fillers. */
void DCZ_EXPORT(pack_row)(const uint16_t *pair, const uint16_t *end, uint32_t per_word,
                          uint32_t skip_bits, uint32_t *out, uint32_t words) {
  const uint32_t step = (1u << skip_bits) - 1u, bits = dcz_entry_bits(per_word);
  uint32_t gap = 0, code = 0;
  for (; words != 0; --words, out += DCZ_BLOCK) {
    uint32_t word = 0;
    for (uint32_t shift = 0, left = per_word; left != 0; --left, shift += bits) {
      /* the gap up to the next survivor, or no survivor any more */
      if (gap == 0) {
        uint32_t whole = 0;
        for (; pair != end; ++pair) {
          const uint32_t short_gap = *pair & 255u;
          whole += short_gap != 0 ? short_gap : DCZ_LONG;
          if (short_gap != 0) {
            gap = whole;
            code = *pair++ >> 8;
            break;
          }
        }
      }
      if (gap == 0 || gap > step) {
        word |= step << shift;
        if (gap != 0) gap -= step;
      } else {
        word |= (code << skip_bits | (gap - 1u)) << shift;
        gap = 0;
      }
    }
    *out = word;
  }
}
