/* Bits by an arithmetic coder whose probabilities adapt: counters, and mixers of them.
   docs/format.md, "Arithmetic coder" and "Probabilities". Right shifts of negative numbers round
   down, as every known compiler has it. */
#ifndef DCZ_MIXER_H
#define DCZ_MIXER_H

#include "input.h"
#include "work.h"

/* A mixer of a constant number of counters is written out wherever it is used. */
#if defined(DCZ_ROOMY) && defined(__clang__)
#define DCZ_UNROLLED __attribute__((always_inline))
#define DCZ_UNROLL _Pragma("clang loop unroll(full)")
#else
#define DCZ_UNROLLED
#define DCZ_UNROLL
#endif

#define DCZ_COUNT_LIMIT 1023u
#define DCZ_STRETCH_LIMIT 3072
#define DCZ_MIXER_INPUTS 6

/* A probability in 2^22ths, and in the lowest ten bits a count. */
typedef uint32_t dcz_counter;

/* "Counter (p, n)", p in 65536ths. */
#define DCZ_COUNTER(p, n) ((uint32_t)(p) << 16 | (uint32_t)(n))

typedef struct {
  uint64_t value, range;
  dcz_input input;
  uint16_t *squash;                    /* of 0 to 3072 */
  int16_t *stretch;                    /* of 4096ths */
  uint16_t *counter_rate, *mixer_rate; /* by count */
} dcz_mixing;

void dcz_mixing_plan(dcz_mixing *mixing, dcz_work *work);
void dcz_mixing_open(dcz_mixing *mixing, const dcz_source *source, uint32_t at, uint32_t end);

/* Takes 32 bits more of the string into `value`. */
void dcz_mixing_word(dcz_mixing *mixing);

static inline uint32_t dcz_squash(const dcz_mixing *mixing, int32_t x) {
  return x >= 0 ? mixing->squash[x] : 65536u - mixing->squash[-x];
}

/* A bit whose probability of a one is `p` in 65536ths. */
static inline uint32_t dcz_mixing_bit(dcz_mixing *mixing, uint32_t p) {
  const uint64_t ones = (mixing->range >> 16) * p;
  const uint32_t bit = mixing->value < ones;
  /* no branches: half of them would be mispredicted */
  const uint64_t zero = (uint64_t)bit - 1;
  mixing->value -= ones & zero;
  mixing->range = ones + ((mixing->range - 2 * ones) & zero);
  if (mixing->range >> 32 == 0) {
    dcz_mixing_word(mixing);
    mixing->range <<= 32;
  }
  return bit;
}

static inline void dcz_learn(const dcz_mixing *mixing, dcz_counter *counter, uint32_t bit,
                             uint32_t limit) {
  const uint32_t count = *counter & DCZ_COUNT_LIMIT;
  const int32_t error = (int32_t)((0 - bit) & 0x3fffff) - (int32_t)(*counter >> 10);
  *counter += (uint32_t)((int64_t)error * mixing->counter_rate[count] >> 16) << 10;
  *counter += count < limit;
}

/* "A counter alone codes a bit, and learns it." */
static inline uint32_t dcz_mixing_alone(dcz_mixing *mixing, dcz_counter *counter, uint32_t limit) {
  const uint32_t p = *counter >> 16;
  const uint32_t bit = dcz_mixing_bit(mixing, p > 0 ? p : 1);
  dcz_learn(mixing, counter, bit, limit);
  return bit;
}

/* By `count` counters, with their limits. `set` has their weights and then the number of bits so
   far. */
DCZ_UNROLLED static inline uint32_t dcz_mixing_bit_of(dcz_mixing *mixing, uint32_t *set,
                                                      int32_t haste, uint32_t count,
                                                      dcz_counter *const *counters,
                                                      const uint16_t *limits) {
  int32_t stretched[DCZ_MIXER_INPUTS], p;
  int64_t sum = 0, error;
  uint32_t bit, i;
  DCZ_UNROLL
  for (i = 0; i < count; ++i) {
    stretched[i] = mixing->stretch[*counters[i] >> 20];
    sum += (int64_t)(int32_t)set[i] * stretched[i];
  }
  sum >>= 16;
  if (sum > DCZ_STRETCH_LIMIT) sum = DCZ_STRETCH_LIMIT;
  if (sum < -DCZ_STRETCH_LIMIT) sum = -DCZ_STRETCH_LIMIT;
  p = (int32_t)dcz_squash(mixing, (int32_t)sum);
  bit = dcz_mixing_bit(mixing, (uint32_t)p);
  error = (int64_t)((int32_t)(bit << 16) - p) * (mixing->mixer_rate[set[count]] + haste) >> 4;
  set[count] += set[count] < DCZ_COUNT_LIMIT;
  DCZ_UNROLL
  for (i = 0; i < count; ++i) {
    set[i] += (uint32_t)((error * stretched[i] + (1 << 17)) >> 18);
    dcz_learn(mixing, counters[i], bit, limits[i]);
  }
  return bit;
}

/* "A reader refuses a string with a byte that was not read." */
dcz_error dcz_mixing_end(dcz_mixing *mixing);

/* numerator * 65536 / denominator, for numerator <= denominator < 2^62. */
uint32_t dcz_ratio(uint64_t numerator, uint64_t denominator);

#endif
