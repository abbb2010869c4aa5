/* Prints every tensor of files as a program in C sees it: its entry and the CRC-32 of its elements, or the message that
 * refuses it, and products of what can be packed. One line each; the same on every machine. */
#include <deepcompression.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t crc_of(const void* bytes, size_t size) {
  uint32_t crc = ~UINT32_C(0);
  for (size_t i = 0; i < size; ++i) {
    crc ^= ((const unsigned char*)bytes)[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (UINT32_C(0xEDB88320) & (0u - (crc & 1u)));
  }
  return ~crc;
}

static void* memory(size_t size) {
  void* found = calloc(size + 1, 1);
  if (found == NULL) {
    fprintf(stderr, "there is not enough memory\n");
    exit(1);
  }
  return found;
}

/* The largest error of a product with dense F32 weights, in parts of the sums of magnitudes. */
static double error_of(const float* weights, const float* x, const float* y, size_t rows, size_t columns) {
  double worst = 0;
  for (size_t row = 0; row < rows; ++row) {
    double sum = 0, size = 0;
    for (size_t i = 0; i < columns; ++i) {
      const double part = (double)weights[row * columns + i] * x[i];
      sum += part;
      size += part < 0 ? -part : part;
    }
    const double error = y[row] < sum ? sum - y[row] : y[row] - sum;
    if (error > worst * size) worst = size > 0 ? error / size : 1;
  }
  return worst;
}

static void multiply(const dcz_reader* reader, size_t number, const float* weights, dcz_activations activations,
                     size_t vectors) {
  dcz_packed* packed;
  if (dcz_packed_make(reader, number, activations, vectors, 2, &packed) != DCZ_DONE) {
    printf("  %s\n", dcz_message());
    return;
  }
  dcz_packed_facts facts;
  if (dcz_packed_describe(packed, &facts, sizeof facts) != DCZ_DONE) exit(1);
  const size_t columns = (size_t)facts.columns, rows = (size_t)facts.rows;
  float *x = memory(vectors * columns * sizeof *x), *y = memory(vectors * rows * sizeof *y);
  for (size_t i = 0; i < vectors * columns; ++i) x[i] = (float)(int)(i % 7) - 3.0f;
  const dcz_product product = {.vectors = vectors,
                               .x = x,
                               .x_length = vectors * columns,
                               .y = y,
                               .y_length = vectors * rows,
                               .activations = activations,
                               .threads = 2};
  if (dcz_packed_multiply(packed, &product, sizeof product) != DCZ_DONE) {
    printf("  %s\n", dcz_message());
  } else {
    printf("  %" PRIu64 " x %" PRIu64 ", %" PRIu64 " survivors", facts.rows, facts.columns, facts.survivors);
    for (size_t i = 0; i < vectors && weights != NULL; ++i) {
      const double error = error_of(weights, x + i * columns, y + i * rows, rows, columns);
      if (error < (activations == DCZ_ACTIVATIONS_INT8 ? 0.05 : 1e-5)) {
        printf(", right");
      } else {
        printf(", WRONG by %g", error);
      }
    }
    printf("\n");
  }
  free(x);
  free(y);
  dcz_packed_free(packed);
}

static void tensor(const dcz_reader* reader, size_t number) {
  dcz_entry entry;
  size_t found;
  if (dcz_reader_entry(reader, number, &entry, sizeof entry) != DCZ_DONE) exit(1);
  if (dcz_reader_find(reader, entry.name.bytes, &found) != DCZ_DONE) exit(1);
  printf(" %s %s %s", entry.name.bytes, entry.dtype, entry.coder);
  for (size_t axis = 0; axis < entry.dimensions; ++axis) printf(" %" PRIu64, entry.shape[axis]);
  void* elements = memory((size_t)entry.bytes);
  if (dcz_reader_decode(reader, number, elements, (size_t)entry.bytes, 2) != DCZ_DONE) {
    printf(": %s\n", dcz_message());
  } else {
    printf(": %08" PRIx32 "\n", crc_of(elements, (size_t)entry.bytes));
  }
  const float* weights = strcmp(entry.dtype, "F32") == 0 ? elements : NULL;
  multiply(reader, number, weights, DCZ_ACTIVATIONS_FLOAT32, 1);
  multiply(reader, number, weights, DCZ_ACTIVATIONS_INT8, 2);
  free(elements);
}

/* Every beginning of a small file is refused. */
static void cut(const char* path) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) exit(1);
  unsigned char* bytes = memory(4096);
  const size_t size = fread(bytes, 1, 4096, file);
  fclose(file);
  for (size_t length = 0; length < size && size < 4096; ++length) {
    dcz_reader* reader;
    unsigned char* start = malloc(length > 0 ? length : 1);
    if (start == NULL) exit(1);
    memcpy(start, bytes, length);
    if (dcz_reader_open_memory(start, length, 0, &reader) != DCZ_BAD_FILE) printf("%s is read when cut\n", path);
    free(start);
  }
  free(bytes);
}

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    dcz_reader* reader;
    printf("%s\n", arguments[i]);
    if (dcz_reader_open(arguments[i], UINT64_C(1) << 28, &reader) != DCZ_DONE) {
      printf(" %s\n", dcz_message());
      continue;
    }
    for (size_t number = 0; number < dcz_reader_count(reader); ++number) tensor(reader, number);
    dcz_reader_close(reader);
    cut(arguments[i]);
  }
  return 0;
}
