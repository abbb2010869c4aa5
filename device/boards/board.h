/* What programs on emulated boards use: files of the host by semihosting, marks that the plugin
   count.c counts between, and the stack that a function takes. */
#ifndef DCZ_BOARD_H
#define DCZ_BOARD_H

#include <stdint.h>

/* Semihosting: the emulator does it. */
int board_call(int operation, const void *arguments);

void board_print(const char *text);
void board_print_number(const char *label, uint32_t number);
void board_exit(int code);

enum { BOARD_READ = 1, BOARD_WRITE = 5 }; /* binary */
int board_open(const char *name, int mode);
/* Whether all bytes were read, or written. */
int board_read(int file, void *to, uint32_t size);
int board_write(int file, const void *from, uint32_t size);

/* The plugin counts the instructions between them. */
void board_begin(void);
void board_end(void);

/* The bytes of stack, 64 at least, that functions took between both calls. */
void board_paint(void);
uint32_t board_painted(void);

int main(void);

#endif
