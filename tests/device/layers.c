/* Calls layers for a test: calls come in at standard input, their results go out.

   A call is a count of arguments and each one's size and bytes, all u32: name, bytes of the output,
   then the arguments in the order of the function's. A result is the error and the output. Each
   array has a block of memory of its own, so that sanitizers see a step outside. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn.h"

enum { MOST = 24 };

static struct {
  void *bytes;
  uint32_t size;
} given[MOST];

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(2);
}

static void *block(uint32_t size) {
  void *made = malloc(size ? size : 1);
  if (!made) fail("no memory");
  return made;
}

static int read_all(void *to, uint32_t size) { return fread(to, 1, size, stdin) == size; }

static uint32_t whole(int k) {
  uint32_t value;
  if (given[k].size != 4) fail("not a number");
  memcpy(&value, given[k].bytes, 4);
  return value;
}

static float real(int k) {
  float value;
  if (given[k].size != 4) fail("not a number");
  memcpy(&value, given[k].bytes, 4);
  return value;
}

/* An array, or NULL for one without elements. */
static void *array(int k) { return given[k].size ? given[k].bytes : NULL; }

/* Multipliers, and step, pre, post, low, high. */
static dcz_requantize requantize(int k) {
  const int32_t *rest = (const int32_t *)given[k + 1].bytes;
  const dcz_requantize to = {(const int16_t *)given[k].bytes,
                             (uint8_t)rest[0],
                             (uint8_t)rest[1],
                             (uint8_t)rest[2],
                             (int16_t)rest[3],
                             (int16_t)rest[4]};
  return to;
}

/* rows, cols, bias, and the requantization or low and high: five arguments, or four. */
static dcz_matrix_i8 matrix_i8(int k) {
  const dcz_matrix_i8 matrix = {whole(k), whole(k + 1), (const int32_t *)array(k + 2),
                                requantize(k + 3)};
  return matrix;
}

static dcz_matrix_f32 matrix_f32(int k) {
  const float *limits = (const float *)given[k + 3].bytes;
  const dcz_matrix_f32 matrix = {whole(k), whole(k + 1), (const float *)array(k + 2), limits[0],
                                 limits[1]};
  return matrix;
}

static dcz_file files[2];

/* Packed: pairs, counts, codebook. Coded: a file, the tensor's number, nothing. */
static dcz_weights weights(int k, int coded, int which) {
  dcz_weights held = {NULL, NULL, NULL, NULL, 0};
  if (coded) {
    const dcz_source source = {(const uint8_t *)given[k].bytes, NULL, NULL, given[k].size};
    if (dcz_open(&files[which], &source) != DCZ_OK) fail("a file does not open");
    held.file = &files[which];
    held.number = whole(k + 1);
  } else {
    held.pairs = (const uint8_t *)given[k].bytes;
    held.counts = (const uint16_t *)given[k + 1].bytes;
    held.codebook = (const float *)array(k + 2);
  }
  return held;
}

static int ends(const char *name, const char *end) {
  const size_t length = strlen(name), tail = strlen(end);
  return length >= tail && strcmp(name + length - tail, end) == 0;
}

/* Linear and convolutions: matrix, weights, x, work; convolutions have their window first. */
static dcz_error product(const char *name, void *y) {
  const int coded = ends(name, "_coded"), conv = strncmp(name, "conv", 4) == 0;
  const int real_numbers = strstr(name, "f32") != NULL;
  const int m = conv ? 3 : 2, w = m + (real_numbers ? 4 : 5);
  const dcz_weights held = weights(w, coded, 0);
  const void *x = given[w + 3].bytes;
  void *work = array(w + 4);
  const uint32_t size = given[w + 4].size;
  const dcz_window *window = (const dcz_window *)given[2].bytes;
  const dcz_unpack unpack = coded ? dcz_unpack_coded : dcz_unpack_packed;
  if (real_numbers) {
    const dcz_matrix_f32 matrix = matrix_f32(m);
    if (conv) return dcz_conv_f32(window, &matrix, &held, unpack, x, y, work, size);
    return (coded ? dcz_linear_f32_coded : dcz_linear_f32_packed)(&matrix, &held, x, y, work, size);
  }
  const dcz_matrix_i8 matrix = matrix_i8(m);
  if (conv) return dcz_conv_i8(window, &matrix, &held, unpack, x, y, work, size);
  if (strstr(name, "i16"))
    return (coded ? dcz_linear_i16_coded : dcz_linear_i16_packed)(&matrix, &held, x, y, work, size);
  return (coded ? dcz_linear_i8_coded : dcz_linear_i8_packed)(&matrix, &held, x, y, work, size);
}

/* The recurrence, two matrices each with its weights, x, work. */
static dcz_error recurrent(const char *name, void *y) {
  const int coded = ends(name, "_coded"), lstm = strncmp(name, "lstm", 4) == 0;
  const dcz_recurrence *recurrence = (const dcz_recurrence *)given[2].bytes;
  const int real_numbers = strstr(name, "f32") != NULL;
  const int s = real_numbers ? 10 : 11, rest = real_numbers ? 17 : 19;
  const dcz_weights of_input = weights(s - 3, coded, 0), of_state = weights(rest - 3, coded, 1);
  const void *x = given[rest].bytes;
  void *work = array(rest + 1);
  const uint32_t size = given[rest + 1].size;
  if (real_numbers) {
    const dcz_matrix_f32 input = matrix_f32(3), state = matrix_f32(s);
    return (lstm ? dcz_lstm_f32 : dcz_gru_f32)(recurrence, &input, &of_input, &state, &of_state,
                                               coded ? dcz_linear_f32_coded : dcz_linear_f32_packed,
                                               x, y, work, size);
  }
  const dcz_matrix_i8 input = matrix_i8(3), state = matrix_i8(s);
  return (lstm ? dcz_lstm_i8 : dcz_gru_i8)(recurrence, &input, &of_input, &state, &of_state,
                                           coded ? dcz_linear_i16_coded : dcz_linear_i16_packed, x,
                                           y, work, size);
}

/* Two activations: what comes before them, a, b, channels, plane, wide. */
static void pairwise(const char *name, void *y) {
  const int real_numbers = strstr(name, "f32") != NULL, k = real_numbers ? 2 : 4;
  const void *a = given[k].bytes, *b = given[k + 1].bytes;
  const uint32_t channels = whole(k + 2), plane = whole(k + 3);
  const int wide = (int)whole(k + 4), add = strncmp(name, "add", 3) == 0;
  if (real_numbers) {
    (add ? dcz_add_f32 : dcz_multiply_f32)(a, b, y, channels, plane, wide);
  } else {
    const dcz_requantize to = requantize(2);
    (add ? dcz_add_i8 : dcz_multiply_i8)(&to, a, b, y, channels, plane, wide);
  }
}

/* Functions of one activation, in place: numbers, x. */
static int unary(const char *name, void *y) {
  static const struct {
    const char *name;
    void (*call)(const float *, float *, uint32_t);
  } plain[] = {{"sigmoid_f32", dcz_sigmoid_f32},       {"tanh_f32", dcz_tanh_f32},
               {"hard_swish_f32", dcz_hard_swish_f32}, {"gelu_f32", dcz_gelu_f32},
               {"gelu_tanh_f32", dcz_gelu_tanh_f32},   {"silu_f32", dcz_silu_f32}};
  const uint32_t n = given[2].size / 4;
  float *x = (float *)y;
  memcpy(y, given[2].bytes, given[2].size);
  for (uint32_t i = 0; i < sizeof plain / sizeof *plain; ++i)
    if (strcmp(name, plain[i].name) == 0) {
      plain[i].call(x, x, n);
      return 1;
    }
  if (strcmp(name, "clip_f32") == 0)
    dcz_clip_f32(real(3), real(4), x, x, n);
  else if (strcmp(name, "hard_sigmoid_f32") == 0)
    dcz_hard_sigmoid_f32(real(3), real(4), x, x, n);
  else if (strcmp(name, "leaky_f32") == 0)
    dcz_leaky_f32(real(3), x, x, n);
  else if (strcmp(name, "elu_f32") == 0)
    dcz_elu_f32(real(3), x, x, n);
  else
    return 0;
  return 1;
}

static void pooled(const char *name, void *y) {
  const dcz_pool *pool = (const dcz_pool *)given[2].bytes;
  const void *x = given[3].bytes;
  if (strcmp(name, "max_pool_i8") == 0) {
    dcz_max_pool_i8(pool, x, y);
  } else if (strcmp(name, "max_pool_f32") == 0) {
    dcz_max_pool_f32(pool, x, y);
  } else if (strcmp(name, "average_pool_f32") == 0) {
    dcz_average_pool_f32(pool, x, y);
  } else {
    const dcz_requantize to = requantize(4);
    dcz_average_pool_i8(pool, &to, x, y);
  }
}

static dcz_error call(const char *name, void *y) {
  if (strncmp(name, "linear", 6) == 0 || strncmp(name, "conv", 4) == 0) return product(name, y);
  if (strncmp(name, "gru", 3) == 0 || strncmp(name, "lstm", 4) == 0) return recurrent(name, y);
  if (strstr(name, "pool")) {
    pooled(name, y);
  } else if (strncmp(name, "add", 3) == 0 || strncmp(name, "multiply", 8) == 0) {
    pairwise(name, y);
  } else if (strcmp(name, "table_i8") == 0) {
    dcz_table_i8(given[2].bytes, given[3].bytes, y, given[3].size);
  } else if (strcmp(name, "rescale_i8") == 0) {
    const dcz_requantize to = requantize(2);
    dcz_rescale_i8(&to, given[4].bytes, y, given[4].size);
  } else if (strcmp(name, "scale_i8") == 0) {
    const dcz_requantize to = requantize(2);
    dcz_scale_i8(&to, given[4].bytes, given[5].bytes, y, whole(6), whole(7));
  } else if (strcmp(name, "scale_f32") == 0) {
    dcz_scale_f32(given[2].bytes, given[3].bytes, given[4].bytes, y, whole(5), whole(6));
  } else if (strcmp(name, "softmax_i8") == 0) {
    dcz_softmax_i8(given[2].bytes, given[3].bytes, y, whole(4), whole(5));
  } else if (strcmp(name, "softmax_f32") == 0) {
    dcz_softmax_f32(given[2].bytes, y, whole(3), whole(4));
  } else if (!unary(name, y)) {
    fail(name);
  }
  return DCZ_OK;
}

int main(void) {
  uint32_t count;
  while (read_all(&count, 4)) {
    if (count > MOST) fail("too many arguments");
    for (uint32_t k = 0; k < count; ++k) {
      if (!read_all(&given[k].size, 4)) fail("no argument");
      given[k].bytes = block(given[k].size);
      if (!read_all(given[k].bytes, given[k].size)) fail("no argument");
    }
    char *name = (char *)given[0].bytes;
    const uint32_t size = whole(1);
    void *y = block(size);
    const uint32_t error = (uint32_t)call(name, y);
    fwrite(&error, 4, 1, stdout);
    fwrite(y, 1, size, stdout);
    free(y);
    for (uint32_t k = 0; k < count; ++k) free(given[k].bytes);
  }
  return 0;
}
