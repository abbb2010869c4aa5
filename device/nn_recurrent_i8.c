/* GRU and LSTM of int8 activations: gates in Q11 and Q15, states in int16. */
#include <string.h>

#include "nn.h"

/* T of nn.h: round(32768 / (1 + exp(-i / 16))) */
static const uint16_t dcz_sigmoids[129] = {
    16384, 16896, 17407, 17916, 18421, 18923, 19420, 19912, 20397, 20874, 21344, 21804, 22255,
    22696, 23127, 23547, 23955, 24352, 24737, 25110, 25471, 25819, 26155, 26479, 26790, 27090,
    27377, 27653, 27917, 28169, 28411, 28642, 28862, 29072, 29272, 29462, 29644, 29816, 29979,
    30135, 30282, 30422, 30555, 30680, 30799, 30912, 31018, 31119, 31214, 31304, 31389, 31469,
    31545, 31616, 31684, 31747, 31807, 31864, 31917, 31968, 32015, 32060, 32102, 32141, 32179,
    32214, 32247, 32278, 32307, 32335, 32361, 32385, 32408, 32430, 32450, 32469, 32487, 32504,
    32520, 32535, 32549, 32562, 32574, 32586, 32597, 32607, 32617, 32626, 32635, 32643, 32650,
    32657, 32664, 32670, 32676, 32682, 32687, 32692, 32696, 32701, 32705, 32709, 32712, 32716,
    32719, 32722, 32725, 32727, 32730, 32732, 32734, 32736, 32738, 32740, 32742, 32743, 32745,
    32746, 32747, 32749, 32750, 32751, 32752, 32753, 32754, 32755, 32756, 32756, 32757,
};

static int32_t dcz_sigmoid_q15(int32_t value) {
  uint32_t size = (uint32_t)(value < 0 ? -value : value);
  if (size > 16383) size = 16383;
  const int32_t low = dcz_sigmoids[size >> 7], high = dcz_sigmoids[(size >> 7) + 1];
  const int32_t s = low + (((high - low) * (int32_t)(size & 127) + 64) >> 7);
  return value < 0 ? 32768 - s : s;
}

static int32_t dcz_tanh_q15(int32_t value) { return 2 * dcz_sigmoid_q15(2 * value) - 32768; }

/* A layer at work: both products of each step, then `combine`. */
typedef struct {
  uint32_t hidden;
  int16_t *a, *b, *kept; /* [gates * hidden] twice; the state [hidden] */
} dcz_gates_i8;

static void dcz_gru_step_i8(const dcz_gates_i8 *gates, int8_t *y) {
  const uint32_t hidden = gates->hidden;
  const int16_t *a = gates->a, *b = gates->b;
  for (uint32_t i = 0; i < hidden; ++i) {
    const int32_t r = dcz_sigmoid_q15(a[i] + b[i]);
    const int32_t z = dcz_sigmoid_q15(a[hidden + i] + b[hidden + i]);
    const int32_t n = dcz_tanh_q15(a[2 * hidden + i] + ((r * b[2 * hidden + i] + 16384) >> 15));
    const int32_t g =
        dcz_clamp((z * gates->kept[i] + (32768 - z) * n + 16384) >> 15, -32767, 32767);
    gates->kept[i] = (int16_t)g;
    y[i] = (int8_t)dcz_clamp((g + 128) >> 8, -127, 127);
  }
}

static void dcz_lstm_step_i8(const dcz_gates_i8 *gates, int8_t *y) {
  const uint32_t hidden = gates->hidden;
  const int16_t *a = gates->a, *b = gates->b;
  for (uint32_t i = 0; i < hidden; ++i) {
    const int32_t in = dcz_sigmoid_q15(a[i] + b[i]);
    const int32_t forget = dcz_sigmoid_q15(a[hidden + i] + b[hidden + i]);
    const int32_t cell = dcz_tanh_q15(a[2 * hidden + i] + b[2 * hidden + i]);
    const int32_t out = dcz_sigmoid_q15(a[3 * hidden + i] + b[3 * hidden + i]);
    const int32_t c = ((forget * gates->kept[i] + 16384) >> 15) + ((in * cell + 262144) >> 19);
    gates->kept[i] = (int16_t)dcz_clamp(c, -32767, 32767);
    y[i] = (int8_t)dcz_clamp((out * dcz_tanh_q15(gates->kept[i]) + 4194304) >> 23, -127, 127);
  }
}

static dcz_error dcz_recur_i8(const dcz_recurrence *recurrence, uint32_t count,
                              const dcz_matrix_i8 *input, const dcz_weights *input_weights,
                              const dcz_matrix_i8 *state, const dcz_weights *state_weights,
                              dcz_linear_i16 linear,
                              void (*combine)(const dcz_gates_i8 *, int8_t *), const int8_t *x,
                              int8_t *y, void *work, uint32_t size) {
  const uint32_t hidden = recurrence->hidden, steps = recurrence->steps;
  const uint32_t taken = ((4 * count + 2) * hidden + 3) / 4 * 4;
  if (size < taken) return DCZ_ERROR_WORK;
  if (input->rows != count * hidden || state->rows != input->rows ||
      input->cols != recurrence->inputs || state->cols != hidden)
    return DCZ_ERROR_SIZE;
  dcz_gates_i8 gates = {hidden, (int16_t *)work, NULL, NULL};
  gates.b = gates.a + count * hidden;
  gates.kept = gates.b + count * hidden;
  uint8_t *rest = (uint8_t *)work + taken;
  memset(gates.kept, 0, hidden * sizeof(int16_t));
  const int8_t *before = NULL;
  for (uint32_t i = 0; i < steps; ++i) {
    const uint32_t step = recurrence->reverse ? steps - 1 - i : i;
    int8_t *now = y + step * recurrence->stride;
    if (!before) {
      memset(now, 0, hidden);
      before = now;
    }
    dcz_error error =
        linear(input, input_weights, x + step * recurrence->inputs, gates.a, rest, size - taken);
    if (error == DCZ_OK) error = linear(state, state_weights, before, gates.b, rest, size - taken);
    if (error != DCZ_OK) return error;
    combine(&gates, now);
    before = now;
  }
  return DCZ_OK;
}

dcz_error dcz_gru_i8(const dcz_recurrence *recurrence, const dcz_matrix_i8 *input,
                     const dcz_weights *input_weights, const dcz_matrix_i8 *state,
                     const dcz_weights *state_weights, dcz_linear_i16 linear, const int8_t *x,
                     int8_t *y, void *work, uint32_t size) {
  return dcz_recur_i8(recurrence, 3, input, input_weights, state, state_weights, linear,
                      dcz_gru_step_i8, x, y, work, size);
}

dcz_error dcz_lstm_i8(const dcz_recurrence *recurrence, const dcz_matrix_i8 *input,
                      const dcz_weights *input_weights, const dcz_matrix_i8 *state,
                      const dcz_weights *state_weights, dcz_linear_i16 linear, const int8_t *x,
                      int8_t *y, void *work, uint32_t size) {
  return dcz_recur_i8(recurrence, 4, input, input_weights, state, state_weights, linear,
                      dcz_lstm_step_i8, x, y, work, size);
}
