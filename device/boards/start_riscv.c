/* Start of a RISC-V processor. */
#include "board.h"

extern uint32_t board_data_from[], board_data[], board_data_end[], board_zero[], board_zero_end[];

int board_call(int operation, const void *arguments) {
  register int a0 __asm__("a0") = operation;
  register const void *a1 __asm__("a1") = arguments;
  __asm__ volatile(
      ".option push\n.option norvc\n.balign 16\n"
      "slli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
      : "+r"(a0)
      : "r"(a1)
      : "memory");
  return a0;
}

static void fault(void) {
  board_print("a fault of the processor\n");
  board_exit(99);
}

__attribute__((used)) void board_reset(void) {
  __asm__ volatile(".option push\n.option arch, +zicsr\ncsrw mtvec, %0\n.option pop" ::"r"(
      (uintptr_t)fault & ~(uintptr_t)3));
  const uint32_t *from = board_data_from;
  for (uint32_t *to = board_data; to < board_data_end;) *to++ = *from++;
  for (uint32_t *to = board_zero; to < board_zero_end;) *to++ = 0;
  board_exit(main());
}

__asm__(
    ".section .vectors, \"ax\"\n"
    ".option push\n.option norelax\n"
    "la gp, __global_pointer$\n"
    ".option pop\n"
    "la sp, board_stack\n"
    "j board_reset\n");
