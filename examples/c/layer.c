/* Lists a .dcz file, and multiplies one layer: layer FILE.dcz [TENSOR]. */
#include <deepcompression.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void check(dcz_status status) {
  if (status != DCZ_DONE) {
    fprintf(stderr, "%s\n", dcz_message());
    exit((int)status);
  }
}

static void list(const dcz_reader* reader) {
  for (size_t number = 0; number < dcz_reader_count(reader); ++number) {
    dcz_entry entry;
    check(dcz_reader_entry(reader, number, &entry, sizeof entry));
    printf("%s %s [", entry.name.bytes, entry.dtype);
    for (size_t axis = 0; axis < entry.dimensions; ++axis) {
      printf("%s%" PRIu64, axis > 0 ? ", " : "", entry.shape[axis]);
    }
    printf("] %s %" PRIu64 " of %" PRIu64 " bytes\n", entry.coder, entry.stored_bytes, entry.bytes);
  }
}

static float* floats(uint64_t count) {
  float* memory = malloc((size_t)count * sizeof *memory + 1);
  if (memory == NULL) {
    fprintf(stderr, "there is not enough memory\n");
    exit(DCZ_SYSTEM);
  }
  return memory;
}

/* The layer's outputs for the inputs 1, 1/2, 1/3 ... */
static void multiply(const dcz_reader* reader, const char* name) {
  size_t number;
  dcz_packed* packed;
  dcz_packed_facts facts;
  check(dcz_reader_find(reader, name, &number));
  check(dcz_packed_make(reader, number, DCZ_ACTIVATIONS_FLOAT32, 1, 1, &packed));
  check(dcz_packed_describe(packed, &facts, sizeof facts));

  float *x = floats(facts.columns), *y = floats(facts.rows);
  for (uint64_t i = 0; i < facts.columns; ++i) x[i] = 1.0f / (float)(i + 1);
  const dcz_product product = {.vectors = 1,
                               .x = x,
                               .x_length = (size_t)facts.columns,
                               .y = y,
                               .y_length = (size_t)facts.rows,
                               .activations = DCZ_ACTIVATIONS_FLOAT32,
                               .threads = 1};
  check(dcz_packed_multiply(packed, &product, sizeof product));
  for (uint64_t row = 0; row < facts.rows; ++row) printf("%.6g\n", (double)y[row]);
  free(x);
  free(y);
  dcz_packed_free(packed);
}

int main(int count, char** arguments) {
  dcz_reader* reader;
  if (count < 2 || count > 3) {
    fprintf(stderr, "usage: layer FILE.dcz [TENSOR]\n");
    return DCZ_BAD_CALL;
  }
  check(dcz_reader_open(arguments[1], 0, &reader));
  list(reader);
  if (count == 3) multiply(reader, arguments[2]);
  dcz_reader_close(reader);
  return 0;
}
