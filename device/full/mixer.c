/* The arithmetic decoder, counters and mixers. Tables are computed: in a program they would take 18
   KB. */
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

void dcz_mixing_word(dcz_mixing *mixing) {
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
    while (dcz_squash(mixing, x) < 16 * i + 8) ++x;
    mixing->stretch[i] = (int16_t)x;
  }
  for (i = 0; i <= DCZ_COUNT_LIMIT; ++i) {
    mixing->counter_rate[i] = (uint16_t)(131072 / (2 * i + 3));
    mixing->mixer_rate[i] = (uint16_t)(65536 / (i + 128));
  }
  dcz_input_open(&mixing->input, source, at, end);
  mixing->range = ~UINT64_C(0);
  dcz_mixing_word(mixing);
  dcz_mixing_word(mixing);
}

dcz_error dcz_mixing_end(dcz_mixing *mixing) {
  dcz_input *const input = &mixing->input;
  if (input->error == DCZ_OK && dcz_input_left(input) > 0) dcz_input_refuse(input);
  return input->error;
}
