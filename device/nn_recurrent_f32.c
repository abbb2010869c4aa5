/* GRU and LSTM of float32 activations. */
#include <string.h>

#include "nn.h"

typedef struct {
  uint32_t hidden;
  float *a, *b, *kept; /* [gates * hidden] twice; the cells of an LSTM [hidden] */
  const float *before; /* the state [hidden] */
} dcz_gates_f32;

static void dcz_gru_step_f32(const dcz_gates_f32 *gates, float *y) {
  const uint32_t hidden = gates->hidden;
  const float *a = gates->a, *b = gates->b;
  for (uint32_t i = 0; i < hidden; ++i) {
    const float r = dcz_sigmoid(a[i] + b[i]);
    const float z = dcz_sigmoid(a[hidden + i] + b[hidden + i]);
    const float n = dcz_tanh(a[2 * hidden + i] + r * b[2 * hidden + i]);
    y[i] = (1.0f - z) * n + z * gates->before[i];
  }
}

static void dcz_lstm_step_f32(const dcz_gates_f32 *gates, float *y) {
  const uint32_t hidden = gates->hidden;
  const float *a = gates->a, *b = gates->b;
  for (uint32_t i = 0; i < hidden; ++i) {
    const float in = dcz_sigmoid(a[i] + b[i]);
    const float forget = dcz_sigmoid(a[hidden + i] + b[hidden + i]);
    const float cell = dcz_tanh(a[2 * hidden + i] + b[2 * hidden + i]);
    const float out = dcz_sigmoid(a[3 * hidden + i] + b[3 * hidden + i]);
    gates->kept[i] = forget * gates->kept[i] + in * cell;
    y[i] = out * dcz_tanh(gates->kept[i]);
  }
}

static dcz_error dcz_recur_f32(const dcz_recurrence *recurrence, uint32_t count, uint32_t cells,
                               const dcz_matrix_f32 *input, const dcz_weights *input_weights,
                               const dcz_matrix_f32 *state, const dcz_weights *state_weights,
                               dcz_linear_f32 linear,
                               void (*combine)(const dcz_gates_f32 *, float *), const float *x,
                               float *y, void *work, uint32_t size) {
  const uint32_t hidden = recurrence->hidden, steps = recurrence->steps;
  const uint32_t taken = (2 * count + cells) * hidden * (uint32_t)sizeof(float);
  if (size < taken) return DCZ_ERROR_WORK;
  if (input->rows != count * hidden || state->rows != input->rows ||
      input->cols != recurrence->inputs || state->cols != hidden)
    return DCZ_ERROR_SIZE;
  dcz_gates_f32 gates = {hidden, (float *)work, NULL, NULL, NULL};
  gates.b = gates.a + count * hidden;
  gates.kept = gates.b + count * hidden;
  uint8_t *rest = (uint8_t *)work + taken;
  for (uint32_t i = 0; i < cells * hidden; ++i) gates.kept[i] = 0.0f;
  for (uint32_t i = 0; i < steps; ++i) {
    const uint32_t step = recurrence->reverse ? steps - 1 - i : i;
    float *now = y + step * recurrence->stride;
    if (!gates.before) {
      for (uint32_t j = 0; j < hidden; ++j) now[j] = 0.0f;
      gates.before = now;
    }
    dcz_error error =
        linear(input, input_weights, x + step * recurrence->inputs, gates.a, rest, size - taken);
    if (error == DCZ_OK)
      error = linear(state, state_weights, gates.before, gates.b, rest, size - taken);
    if (error != DCZ_OK) return error;
    combine(&gates, now);
    gates.before = now;
  }
  return DCZ_OK;
}

dcz_error dcz_gru_f32(const dcz_recurrence *recurrence, const dcz_matrix_f32 *input,
                      const dcz_weights *input_weights, const dcz_matrix_f32 *state,
                      const dcz_weights *state_weights, dcz_linear_f32 linear, const float *x,
                      float *y, void *work, uint32_t size) {
  return dcz_recur_f32(recurrence, 3, 0, input, input_weights, state, state_weights, linear,
                       dcz_gru_step_f32, x, y, work, size);
}

dcz_error dcz_lstm_f32(const dcz_recurrence *recurrence, const dcz_matrix_f32 *input,
                       const dcz_weights *input_weights, const dcz_matrix_f32 *state,
                       const dcz_weights *state_weights, dcz_linear_f32 linear, const float *x,
                       float *y, void *work, uint32_t size) {
  return dcz_recur_f32(recurrence, 4, 1, input, input_weights, state, state_weights, linear,
                       dcz_lstm_step_f32, x, y, work, size);
}
