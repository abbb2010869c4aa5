/* Bits by an arithmetic coder whose probabilities adapt: counters, and mixers of them. docs/format.md, "Arithmetic coder"
 * and "Probabilities". Right shifts of negative numbers round down, as every known compiler has it. */
#ifndef DCZ_MIXER_H
#define DCZ_MIXER_H

#include "input.h"
#include "work.h"

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
  uint16_t *squash;  /* of 0 to 3072 */
  int16_t *stretch;  /* of 4096ths */
  uint16_t *counter_rate, *mixer_rate; /* by count */
} dcz_mixing;

void dcz_mixing_plan(dcz_mixing *mixing, dcz_work *work);
void dcz_mixing_open(dcz_mixing *mixing, const dcz_source *source, uint32_t at, uint32_t end);

/* A bit whose probability of a one is `p` in 65536ths. */
uint32_t dcz_mixing_bit(dcz_mixing *mixing, uint32_t p);

/* "A counter alone codes a bit, and learns it." */
uint32_t dcz_mixing_alone(dcz_mixing *mixing, dcz_counter *counter, uint32_t limit);

/* By `count` counters, with their limits. `set` has their weights and then the number of bits so far. */
uint32_t dcz_mixing_bit_of(dcz_mixing *mixing, uint32_t *set, int32_t haste, uint32_t count,
                           dcz_counter *const *counters, const uint16_t *limits);

/* "A reader refuses a string with a byte that was not read." */
dcz_error dcz_mixing_end(dcz_mixing *mixing);

/* numerator * 65536 / denominator, for numerator <= denominator < 2^62. */
uint32_t dcz_ratio(uint64_t numerator, uint64_t denominator);

#endif
