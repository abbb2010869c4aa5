/* Where the memory begins that JavaScript gives to compute.wasm's functions. */
#include "compute.h"

extern uint8_t __heap_base[];

void *DCZ_EXPORT(heap)(void) { return __heap_base; }
