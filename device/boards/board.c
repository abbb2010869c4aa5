/* The part of board.h that is the same on all machines. */
#include "board.h"

#include <string.h>

void board_print(const char *text) { board_call(4, text); }

void board_print_number(const char *label, uint32_t number) {
  char digits[12];
  uint32_t at = sizeof digits;
  digits[--at] = 0;
  digits[--at] = '\n';
  do {
    digits[--at] = (char)('0' + number % 10);
    number /= 10;
  } while (number != 0);
  board_print(label);
  board_print(" ");
  board_print(digits + at);
}

void board_exit(int code) {
  const uint32_t block[2] = {0x20026, (uint32_t)code};
  board_call(0x20, block);
  for (;;) {
  }
}

int board_open(const char *name, int mode) {
  const uintptr_t block[3] = {(uintptr_t)name, (uintptr_t)mode, strlen(name)};
  return board_call(1, block);
}

int board_read(int file, void *to, uint32_t size) {
  const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)to, size};
  return board_call(6, block) == 0;
}

int board_write(int file, const void *from, uint32_t size) {
  const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)from, size};
  return board_call(5, block) == 0;
}

__attribute__((noinline)) void board_begin(void) { __asm__ volatile("" ::: "memory"); }

__attribute__((noinline)) void board_end(void) { __asm__ volatile("nop" ::: "memory"); }

/* The memory between the variables and the stack. */
extern uint8_t board_free[];

/* Of board_paint; it takes less than MARGIN bytes itself. */
static uintptr_t frame;

enum { MARGIN = 64 };

__attribute__((noinline)) void board_paint(void) {
  frame = (uintptr_t)__builtin_frame_address(0);
  for (uintptr_t at = (uintptr_t)board_free; at < frame - MARGIN; ++at)
    *(volatile uint8_t *)at = 0xa5;
}

__attribute__((noinline)) uint32_t board_painted(void) {
  uintptr_t at = (uintptr_t)board_free;
  while (at < frame - MARGIN && *(volatile uint8_t *)at == 0xa5) ++at;
  return (uint32_t)(frame - at);
}
