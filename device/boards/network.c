/* Runs an exported network on inputs of a file, and writes its outputs into another. The build
   gives COUNT, the number of inputs, and ELEMENT, the type of activations. */
#include "board.h"
#include "net.h"

static net_state state;
static ELEMENT input[NET_INPUT_SIZE], output[NET_OUTPUT_SIZE];

int main(void) {
  const int inputs = board_open("inputs.bin", BOARD_READ);
  const int outputs = board_open("outputs.bin", BOARD_WRITE);
  if (inputs < 0 || outputs < 0) return 1;
  board_paint();
  if (net_open(&state) != DCZ_OK) return 2;
  board_print_number("opening", board_painted());
  for (uint32_t i = 0; i < COUNT; ++i) {
    if (!board_read(inputs, input, sizeof input)) return 3;
    if (i == 0) board_paint();
    board_begin();
    const dcz_error error = net_run(&state, input, output);
    board_end();
    if (i == 0) board_print_number("running", board_painted());
    if (error != DCZ_OK) return 4;
    if (!board_write(outputs, output, sizeof output)) return 5;
  }
  board_print_number("state", sizeof state);
  return 0;
}
