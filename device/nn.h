/* Layers of a network for boards: int8 and float32 activations, weights packed or coded.

   Activations are arrays in the order channel, row, column (CHW), one input at a time. In int8 they
   are symmetric: real = scale * q with one scale a tensor, zero point 0, and q in -127 to 127.
   Functions check lengths that come from files and from callers. Arrays that an exporter wrote
   (`pairs`, `counts`, multipliers, tables) are trusted like code. No function allocates, recurses,
   or keeps anything between calls. `x` and `y` may be the same array where the text says "in
   place". `>>` of a negative number is arithmetic, as by all compilers for these machines.

   An int8 product never overflows if, for every row, |bias| + 127 * (sum of |weight|) < 2^31: an
   exporter proves it. */
#ifndef DCZ_NN_H
#define DCZ_NN_H

#include <stdint.h>

#include "dcz.h"
#include "rows.h"

#ifdef __cplusplus
extern "C" {
#endif

/* From int32 sums to activations.

   y = clamp((((sum >> pre) * multiplier) + (1 << (post - 1))) >> post, low, high), in int32 alone.
   An exporter proves 1 <= post <= 31, pre <= 31, and
   |sum >> pre| * |multiplier| + 2^(post - 1) < 2^31. Multipliers may be negative or zero. `low` and
   `high` hold a fused ReLU (0), ReLU6, or -127 and 127. */
typedef struct {
  const int16_t *multiplier; /* one, or one for each row (channel, count) */
  uint8_t step;              /* 0: one for all; 1: one for each */
  uint8_t pre, post;
  int16_t low, high;
} dcz_requantize;

static inline int32_t dcz_clamp(int32_t value, int32_t low, int32_t high) {
  return value < low ? low : value > high ? high : value;
}

static inline int32_t dcz_requantized(const dcz_requantize *to, uint32_t row, int32_t sum) {
  const int32_t scaled = (sum >> to->pre) * to->multiplier[to->step ? row : 0];
  return dcz_clamp((scaled + ((int32_t)1 << (to->post - 1))) >> to->post, to->low, to->high);
}

/* Matrices: the weights of Linear, Conv and recurrent layers are rows x cols. One of two ways holds
   them:

   packed  `pairs`: for each survivor two bytes, its gap and its code, row after row. The gap counts
           the columns between it and the survivor before, or the row's start, column -1:
           column = before + 1 + gap. A gap above 255 takes filler pairs (255, zero's code), which
           step over 255 columns and stand on one themselves. `counts`: the pairs of each row.
           In int8 a code is the weight (two's complement), and zero's code is 0. In float32 it is
           an index of `codebook`, where a filler's centroid is 0.
   coded   the tensor `number`, in index order, of an open `.dcz` file, coder `device` or `raw`. Its
           first axis is `rows`, all others together are `cols`; its dtype is I8 for int8, F32 for
           float32. It is decoded at each use. */
typedef struct {
  const uint8_t *pairs; /* packed */
  const uint16_t *counts;
  const float *codebook; /* float32 alone */
  const dcz_file *file;  /* coded */
  uint32_t number;
} dcz_weights;

/* sum = bias[row] + sum over columns of w * x; y = requantized(sum).
   bias: in units of w_scale * x_scale; NULL: zeros. */
typedef struct {
  uint32_t rows, cols;
  const int32_t *bias;
  dcz_requantize to;
} dcz_matrix_i8;

/* y = clamp(bias[row] + sum over columns of w * x, low, high), summed in this order, in float32.
   bias: NULL: zeros. Without a fused activation low = -FLT_MAX and high = FLT_MAX. */
typedef struct {
  uint32_t rows, cols;
  const float *bias;
  float low, high;
} dcz_matrix_f32;

/* Linear: x [cols] -> y [rows].

   i16 writes the requantized sums as int16, for recurrent layers. `work`, aligned to 4: packed none
   (NULL, 0); coded dcz_work_size of the tensor. Errors: DCZ_ERROR_SIZE if the tensor's dtype, rows
   or cols are others than the matrix says, DCZ_ERROR_WORK if `size` is too small, and those of
   rows.h. */
dcz_error dcz_linear_i8_packed(const dcz_matrix_i8 *matrix, const dcz_weights *weights,
                               const int8_t *x, int8_t *y, void *work, uint32_t size);
dcz_error dcz_linear_i8_coded(const dcz_matrix_i8 *matrix, const dcz_weights *weights,
                              const int8_t *x, int8_t *y, void *work, uint32_t size);
dcz_error dcz_linear_i16_packed(const dcz_matrix_i8 *matrix, const dcz_weights *weights,
                                const int8_t *x, int16_t *y, void *work, uint32_t size);
dcz_error dcz_linear_i16_coded(const dcz_matrix_i8 *matrix, const dcz_weights *weights,
                               const int8_t *x, int16_t *y, void *work, uint32_t size);
dcz_error dcz_linear_f32_packed(const dcz_matrix_f32 *matrix, const dcz_weights *weights,
                                const float *x, float *y, void *work, uint32_t size);
dcz_error dcz_linear_f32_coded(const dcz_matrix_f32 *matrix, const dcz_weights *weights,
                               const float *x, float *y, void *work, uint32_t size);

/* Convolutions: x [groups * group_channels, height, width] -> y [filters, out_height, out_width].

   Conv1d has height 1. Depthwise: group_channels 1. The matrix has rows = filters and
   cols = group_channels * kernel_height * kernel_width; a column is
   (channel * kernel_height + ky) * kernel_width + kx. y[f, oy, ox] sums, over the columns in their
   order, w[f, c, ky, kx] * x[g * group_channels + c, row, column], where g = f / group_filters,
   row = oy * stride_y - pad_top + ky * dilation_y and
   column = ox * stride_x - pad_left + kx * dilation_x. Outside of x lie zeros, which are skipped.
   Padding below and to the right follows from out_height and out_width. */
typedef struct {
  uint16_t height, width; /* of the input */
  uint16_t out_height, out_width;
  uint16_t group_channels, group_filters; /* of one group: channels of the input, filters */
  uint8_t kernel_height, kernel_width;    /* (kernel - 1) * dilation is at most 255 */
  uint8_t stride_y, stride_x;
  uint8_t pad_top, pad_left;
  uint8_t dilation_y, dilation_x;
} dcz_window;

/* A survivor of a filter, as its window sees it. */
typedef struct {
  uint32_t offset; /* (channel * height + ky * dilation_y) * width + kx * dilation_x */
  uint8_t ky, kx;  /* times dilation */
  int16_t code;    /* the weight (int8), or an index of `values` (float32) */
} dcz_survivor;

/* The survivors of one filter, and the way to the next filter's. */
typedef struct {
  uint8_t *work; /* the caller sets these three before row 0 */
  uint32_t size;
  uint8_t dtype; /* DCZ_I8 or DCZ_F32 */
  dcz_survivor *entries;
  uint32_t room, count;
  const float *values;  /* float32: of each code */
  const uint8_t *pairs; /* packed: the next row */
  dcz_rows rows;        /* coded */
} dcz_filter;

/* Unpacks row number `row` into filter->entries; called for row 0, 1, 2, ... in order. */
typedef dcz_error (*dcz_unpack)(const dcz_weights *weights, const dcz_window *window, uint32_t rows,
                                uint32_t cols, uint32_t row, dcz_filter *filter);
dcz_error dcz_unpack_packed(const dcz_weights *weights, const dcz_window *window, uint32_t rows,
                            uint32_t cols, uint32_t row, dcz_filter *filter);
dcz_error dcz_unpack_coded(const dcz_weights *weights, const dcz_window *window, uint32_t rows,
                           uint32_t cols, uint32_t row, dcz_filter *filter);

/* `unpack`: dcz_unpack_packed or dcz_unpack_coded. `work`, aligned to 4: packed 8 bytes for each
   survivor of the row that has most; coded dcz_work_size of the tensor, rounded up to 4, and those
   8 bytes (for float32 tensors of the coder `raw` also cols * 4 bytes). Errors: those of Linear;
   DCZ_ERROR_WORK if a row's survivors do not fit. */
dcz_error dcz_conv_i8(const dcz_window *window, const dcz_matrix_i8 *matrix,
                      const dcz_weights *weights, dcz_unpack unpack, const int8_t *x, int8_t *y,
                      void *work, uint32_t size);
dcz_error dcz_conv_f32(const dcz_window *window, const dcz_matrix_f32 *matrix,
                       const dcz_weights *weights, dcz_unpack unpack, const float *x, float *y,
                       void *work, uint32_t size);

/* Pooling: x [channels, height, width] -> y [channels, out_height, out_width].

   The window at (oy, ox) holds the elements of x with
   oy * stride_y - pad_top <= row < oy * stride_y - pad_top + kernel_height, and columns alike.
   Outside of x there is nothing. Each window holds one element at least.

   Average: sum / count, where count is the elements in the window, or kernel_height * kernel_width
   if `count_padding`. int8: y = requantized(sum) with the row count - 1: to->step 0 for one count,
   1 for a multiplier of each count. float32: sum (rows, then columns) * (1 / count), in float32. */
typedef struct {
  uint16_t channels, height, width, out_height, out_width;
  uint16_t kernel_height, kernel_width;
  uint8_t stride_y, stride_x;
  uint8_t pad_top, pad_left;
  uint8_t count_padding;
} dcz_pool;

void dcz_max_pool_i8(const dcz_pool *pool, const int8_t *x, int8_t *y);
void dcz_max_pool_f32(const dcz_pool *pool, const float *x, float *y);
void dcz_average_pool_i8(const dcz_pool *pool, const dcz_requantize *to, const int8_t *x,
                         int8_t *y);
void dcz_average_pool_f32(const dcz_pool *pool, const float *x, float *y);

/* Elementwise, in place if wished: x [n] -> y [n]. */

/* y = table[x + 128]: any function of one int8 activation. */
void dcz_table_i8(const int8_t table[256], const int8_t *x, int8_t *y, uint32_t n);

void dcz_clip_f32(float low, float high, const float *x, float *y,
                  uint32_t n);                                         /* ReLU: 0, FLT_MAX */
void dcz_leaky_f32(float slope, const float *x, float *y, uint32_t n); /* x >= 0 ? x : slope * x */
void dcz_sigmoid_f32(const float *x, float *y, uint32_t n);            /* 1 / (1 + exp(-x)) */
void dcz_tanh_f32(const float *x, float *y, uint32_t n);               /* to 2e-7 absolute */
void dcz_hard_sigmoid_f32(float slope, float offset, const float *x, float *y,
                          uint32_t n);                         /* clip(slope x + offset) */
void dcz_hard_swish_f32(const float *x, float *y, uint32_t n); /* x * clip(x / 6 + 0.5, 0, 1) */
void dcz_elu_f32(float alpha, const float *x, float *y,
                 uint32_t n);                            /* x >= 0 ? x : alpha (exp(x) - 1) */
void dcz_gelu_f32(const float *x, float *y, uint32_t n); /* x (1 + erf(x / sqrt 2)) / 2 */
void dcz_gelu_tanh_f32(const float *x, float *y,
                       uint32_t n);                      /* the same by tanh, as torch has it */
void dcz_silu_f32(const float *x, float *y, uint32_t n); /* x / (1 + exp(-x)) */

float dcz_sigmoid(float x);
float dcz_tanh(float x); /* to 2e-7 absolute */
float dcz_exp(float x);  /* to 2e-7 relative; 0 below -87.3, FLT_MAX above 88.7 */

/* y = clamp((x * multiplier + 2^(post - 1)) >> post, low, high): requantized with pre 0 and row 0.
   Brings the parts of a Concat to one scale; is a ReLU of its own, too. */
void dcz_rescale_i8(const dcz_requantize *to, const int8_t *x, int8_t *y, uint32_t n);

/* A BatchNorm that could not be folded, x [channels, plane] -> y. int8: y = clamp((x *
   multiplier[c] + offset[c]) >> post, low, high), pre and step unused; offset holds the rounding
   2^(post - 1); every sum is below 2^31 in size. float32: y = x * factor[c] + offset[c]. */
void dcz_scale_i8(const dcz_requantize *to, const int32_t *offset, const int8_t *x, int8_t *y,
                  uint32_t channels, uint32_t plane);
void dcz_scale_f32(const float *factor, const float *offset, const float *x, float *y,
                   uint32_t channels, uint32_t plane);

/* Of two activations: a [channels, plane], b [channels, plane] or, if `wide` is 0, b [channels]
   -> y like a. In place for a; for b too if it has a's shape.

   Add int8: y = clamp((a * factor_a + b * factor_b + 2^(post - 1)) >> post, low, high), where
   multiplier[0] is factor_a and multiplier[1] factor_b; pre and step unused.
   Multiply int8: y = requantized(a * b), row 0. */
void dcz_add_i8(const dcz_requantize *to, const int8_t *a, const int8_t *b, int8_t *y,
                uint32_t channels, uint32_t plane, int wide);
void dcz_add_f32(const float *a, const float *b, float *y, uint32_t channels, uint32_t plane,
                 int wide);
void dcz_multiply_i8(const dcz_requantize *to, const int8_t *a, const int8_t *b, int8_t *y,
                     uint32_t channels, uint32_t plane, int wide);
void dcz_multiply_f32(const float *a, const float *b, float *y, uint32_t channels, uint32_t plane,
                      int wide);

/* Softmax over the last axis, in place if wished: x [rows, n] -> y.

   int8: table[d] = round(65535 * exp(-scale_x * d)) for d = 0 to 254; e = table[max - x];
   total = sum of e; y = (127 * e + total / 2) / total, rounded down, in uint32. The output's scale
   is 1 / 127. n is at most 32767. float32: exp(x - max) / (sum of them). */
void dcz_softmax_i8(const uint16_t table[255], const int8_t *x, int8_t *y, uint32_t rows,
                    uint32_t n);
void dcz_softmax_f32(const float *x, float *y, uint32_t rows, uint32_t n);

/* Recurrent layers: x [steps, inputs] -> y [steps, hidden], or y [hidden] of the last step.

   The state starts at zero. `input` is gates * hidden x inputs, `state` gates * hidden x hidden.
   Their rows are blocks of `hidden` in torch's order: GRU r, z, n; LSTM i, f, g, o. GRU is torch's,
   which is ONNX's linear_before_reset = 1. With a = input * x + its bias, b = state * h + its bias:

   GRU   r = sigmoid(a_r + b_r)
         z = sigmoid(a_z + b_z)
         n = tanh(a_n + r * b_n)
         h = (1 - z) * n + z * h
   LSTM  c = sigmoid(a_f + b_f) * c + sigmoid(a_i + b_i) * tanh(a_g + b_g)
         h = sigmoid(a_o + b_o) * tanh(c)

   int8: x has any scale, h has the scale 1/128. a and b are int16 in units of 2^-11 (Q11): the
   matrices' low and high are -32767 and 32767. All below is int32. S and H are sigmoid and tanh of
   Q11 in Q15, with T[i] = round(32768 / (1 + exp(-i / 16))) for i = 0 to 128:

   S(v)  m = min(|v|, 16383)
         i = m >> 7
         s = T[i] + (((T[i + 1] - T[i]) * (m & 127) + 64) >> 7)
         v < 0 ? 32768 - s : s
   H(v)  2 * S(2 * v) - 32768
   GRU   n = H(a_n + ((S(a_r + b_r) * b_n + 16384) >> 15))
         z = S(a_z + b_z)
         g = clamp((z * g + (32768 - z) * n + 16384) >> 15, -32767, 32767), the state in Q15
         h = clamp((g + 128) >> 8, -127, 127)
   LSTM  c = clamp(((S(f) * c + 16384) >> 15) + ((S(i) * H(g) + 2^18) >> 19), -32767, 32767), in Q11
         h = clamp((S(o) * H(c) + 2^22) >> 23, -127, 127), where f = a_f + b_f and so on

   `linear`: dcz_linear_i16_packed or _coded (f32: dcz_linear_f32_packed or _coded), for both
   matrices. `work`, aligned to 4, with L = what `linear` takes (the larger of both), h = hidden,
   each part rounded up to 4:
     int8: GRU 14 h + L, LSTM 18 h + L bytes
     float32: GRU 24 h + L, LSTM 36 h + L bytes */
typedef struct {
  uint32_t steps, inputs, hidden;
  uint32_t stride; /* elements from one step's output to the next in y; 0: y holds the last output
                      alone */
  uint8_t reverse; /* 1: steps run from the last to the first (and so do outputs, which keep their
                      places) */
} dcz_recurrence;

typedef dcz_error (*dcz_linear_i16)(const dcz_matrix_i8 *, const dcz_weights *, const int8_t *,
                                    int16_t *, void *, uint32_t);
typedef dcz_error (*dcz_linear_f32)(const dcz_matrix_f32 *, const dcz_weights *, const float *,
                                    float *, void *, uint32_t);
dcz_error dcz_gru_i8(const dcz_recurrence *recurrence, const dcz_matrix_i8 *input,
                     const dcz_weights *input_weights, const dcz_matrix_i8 *state,
                     const dcz_weights *state_weights, dcz_linear_i16 linear, const int8_t *x,
                     int8_t *y, void *work, uint32_t size);
dcz_error dcz_lstm_i8(const dcz_recurrence *recurrence, const dcz_matrix_i8 *input,
                      const dcz_weights *input_weights, const dcz_matrix_i8 *state,
                      const dcz_weights *state_weights, dcz_linear_i16 linear, const int8_t *x,
                      int8_t *y, void *work, uint32_t size);
dcz_error dcz_gru_f32(const dcz_recurrence *recurrence, const dcz_matrix_f32 *input,
                      const dcz_weights *input_weights, const dcz_matrix_f32 *state,
                      const dcz_weights *state_weights, dcz_linear_f32 linear, const float *x,
                      float *y, void *work, uint32_t size);
dcz_error dcz_lstm_f32(const dcz_recurrence *recurrence, const dcz_matrix_f32 *input,
                       const dcz_weights *input_weights, const dcz_matrix_f32 *state,
                       const dcz_weights *state_weights, dcz_linear_f32 linear, const float *x,
                       float *y, void *work, uint32_t size);

#ifdef __cplusplus
}
#endif

#endif
