/* The arithmetic decoder, counters and mixers. Tables are computed: in a program they would take 18 KB. */
#include "mixer.h"

uint32_t dcz_ratio(uint64_t numerator, uint64_t denominator) {
  uint32_t ratio = 0, i;
  for (i = 0; i <= 16; ++i) {
    ratio <<= 1;
    if (numerator >= denominator) {
      numerator -= denominator;
      ratio |= 1;
    }
    numerator <<= 1;
  }
  return ratio;
}

void dcz_mixing_plan(dcz_mixing *mixing, dcz_work *work) {
  mixing->squash = dcz_work_take(work, (DCZ_STRETCH_LIMIT + 1) * sizeof(uint16_t));
  mixing->stretch = dcz_work_take(work, 4096 * sizeof(int16_t));
  mixing->counter_rate = dcz_work_take(work, (DCZ_COUNT_LIMIT + 1) * sizeof(uint16_t));
  mixing->mixer_rate = dcz_work_take(work, (DCZ_COUNT_LIMIT + 1) * sizeof(uint16_t));
}

static inline uint32_t squash(const dcz_mixing *mixing, int32_t x) {
  return x >= 0 ? mixing->squash[x] : 65536u - mixing->squash[-x];
}

static void take_word(dcz_mixing *mixing) {
  uint32_t word = 0, i;
  for (i = 0; i < 4; ++i) {
    word <<= 8;
    if (dcz_input_left(&mixing->input) > 0) word |= dcz_input_byte(&mixing->input);
  }
  mixing->value = mixing->value << 32 | word;
}

void dcz_mixing_open(dcz_mixing *mixing, const dcz_source *source, uint32_t at, uint32_t end) {
  const uint64_t one = UINT64_C(1) << 32;
  uint64_t power = one;
  int32_t x;
  uint32_t i;
  for (i = 0; i <= DCZ_STRETCH_LIMIT; ++i) {
    mixing->squash[i] = (uint16_t)dcz_ratio(one, one + power);
    power = power * UINT32_C(4278222859) >> 32;
  }
  x = -DCZ_STRETCH_LIMIT;
  for (i = 0; i < 4096; ++i) {
    while (squash(mixing, x) < 16 * i + 8) ++x;
    mixing->stretch[i] = (int16_t)x;
  }
  for (i = 0; i <= DCZ_COUNT_LIMIT; ++i) {
    mixing->counter_rate[i] = (uint16_t)(131072 / (2 * i + 3));
    mixing->mixer_rate[i] = (uint16_t)(65536 / (i + 128));
  }
  dcz_input_open(&mixing->input, source, at, end);
  mixing->range = ~UINT64_C(0);
  take_word(mixing);
  take_word(mixing);
}

uint32_t dcz_mixing_bit(dcz_mixing *mixing, uint32_t p) {
  const uint64_t ones = (mixing->range >> 16) * p;
  const uint32_t bit = mixing->value < ones;
  /* no branches: half of them would be mispredicted */
  const uint64_t zero = (uint64_t)bit - 1;
  mixing->value -= ones & zero;
  mixing->range = ones + ((mixing->range - 2 * ones) & zero);
  if (mixing->range >> 32 == 0) {
    take_word(mixing);
    mixing->range <<= 32;
  }
  return bit;
}

static inline void learn(const dcz_mixing *mixing, dcz_counter *counter, uint32_t bit, uint32_t limit) {
  const uint32_t count = *counter & DCZ_COUNT_LIMIT;
  const int32_t error = (int32_t)((0 - bit) & 0x3fffff) - (int32_t)(*counter >> 10);
  *counter += (uint32_t)((int64_t)error * mixing->counter_rate[count] >> 16) << 10;
  *counter += count < limit;
}

uint32_t dcz_mixing_alone(dcz_mixing *mixing, dcz_counter *counter, uint32_t limit) {
  const uint32_t p = *counter >> 16;
  const uint32_t bit = dcz_mixing_bit(mixing, p > 0 ? p : 1);
  learn(mixing, counter, bit, limit);
  return bit;
}

uint32_t dcz_mixing_bit_of(dcz_mixing *mixing, uint32_t *set, int32_t haste, uint32_t count,
                           dcz_counter *const *counters, const uint16_t *limits) {
  int32_t stretched[DCZ_MIXER_INPUTS], p;
  int64_t sum = 0, error;
  uint32_t bit, i;
  for (i = 0; i < count; ++i) {
    stretched[i] = mixing->stretch[*counters[i] >> 20];
    sum += (int64_t)(int32_t)set[i] * stretched[i];
  }
  sum >>= 16;
  if (sum > DCZ_STRETCH_LIMIT) sum = DCZ_STRETCH_LIMIT;
  if (sum < -DCZ_STRETCH_LIMIT) sum = -DCZ_STRETCH_LIMIT;
  p = (int32_t)squash(mixing, (int32_t)sum);
  bit = dcz_mixing_bit(mixing, (uint32_t)p);
  error = (int64_t)((int32_t)(bit << 16) - p) * (mixing->mixer_rate[set[count]] + haste) >> 4;
  set[count] += set[count] < DCZ_COUNT_LIMIT;
  for (i = 0; i < count; ++i) {
    set[i] += (uint32_t)((error * stretched[i] + (1 << 17)) >> 18);
    learn(mixing, counters[i], bit, limits[i]);
  }
  return bit;
}

dcz_error dcz_mixing_end(dcz_mixing *mixing) {
  dcz_input *const input = &mixing->input;
  if (input->error == DCZ_OK && dcz_input_left(input) > 0) dcz_input_refuse(input);
  return input->error;
}
