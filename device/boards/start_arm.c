/* Start of a Cortex-M. */
#include "board.h"

extern uint32_t board_data_from[], board_data[], board_data_end[], board_zero[], board_zero_end[];
extern uint32_t board_stack[];

int board_call(int operation, const void *arguments) {
  register int r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = arguments;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

void board_reset(void) {
#if defined(__ARM_FP)
  *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* the floating-point unit is off at first */
  __asm__ volatile("dsb\nisb");
#endif
  const uint32_t *from = board_data_from;
  for (uint32_t *to = board_data; to < board_data_end;) *to++ = *from++;
  for (uint32_t *to = board_zero; to < board_zero_end;) *to++ = 0;
  board_exit(main());
}

static void fault(void) {
  board_print("a fault of the processor\n");
  board_exit(99);
}

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) const vector board_vectors[16] = {
    (vector)(uintptr_t)board_stack, board_reset, fault, fault, fault, fault, fault};
