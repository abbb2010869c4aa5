/* One linear layer in each type and way: layer_data.h has its arrays and expected outputs. */
#include "board.h"
#include "layer_data.h"
#include "nn.h"

static int8_t y[ROWS];
static float y_real[ROWS];
static uint32_t work[1024];

static uint32_t wrong(void) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < ROWS; ++i) count += y[i] != expected[i];
  return count;
}

static uint32_t wrong_real(void) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < ROWS; ++i) {
    const float off = y_real[i] - expected_real[i];
    count += !(off <= 1e-4f && off >= -1e-4f);
  }
  return count;
}

/* Sums of a dense matrix, for comparison. */
static void dense_i8(const dcz_matrix_i8 *matrix) {
  const int8_t *weight = dense;
  for (uint32_t row = 0; row < ROWS; ++row) {
    int32_t sum = matrix->bias[row];
    const int8_t *at = x;
    for (const int8_t *end = weight + COLS; weight != end;) sum += *weight++ * *at++;
    y[row] = (int8_t)dcz_requantized(&matrix->to, row, sum);
  }
}

int main(void) {
  const dcz_source source = {file, 0, 0, sizeof file};
  const dcz_matrix_i8 matrix = {ROWS, COLS, bias, {&multiplier, 0, PRE, POST, -127, 127}};
  const dcz_matrix_f32 real = {ROWS, COLS, 0, -3e38f, 3e38f};
  dcz_file opened;
  uint32_t failed = dcz_open(&opened, &source);
  const dcz_weights packed = {pairs, counts, 0, 0, 0},
                    packed_real = {pairs_real, counts, codebook, 0, 0};
  const dcz_weights coded = {0, 0, 0, &opened, 0}, coded_real = {0, 0, 0, &opened, 1};

  board_begin();
  dense_i8(&matrix);
  board_end();
  failed += wrong();

  board_begin();
  failed += dcz_linear_i8_packed(&matrix, &packed, x, y, 0, 0);
  board_end();
  failed += wrong();

  board_begin();
  failed += dcz_linear_i8_coded(&matrix, &coded, x, y, work, sizeof work);
  board_end();
  failed += wrong();

  board_begin();
  failed += dcz_linear_f32_packed(&real, &packed_real, x_real, y_real, 0, 0);
  board_end();
  failed += wrong_real();

  board_begin();
  failed += dcz_linear_f32_coded(&real, &coded_real, x_real, y_real, work, sizeof work);
  board_end();
  failed += wrong_real();
  board_print_number("failed", failed);
  return failed != 0;
}
