/* The C interface of deepcompression: reads .dcz files and computes from packed weights (docs/c-interface.md).
 *
 * Functions that can fail return a dcz_status; dcz_message() then says what, where and what to do. They change nothing
 * in that case, and every handle stays usable. Threads may share a reader and packed weights. Pointers that functions
 * give out belong to their handle. No function throws or aborts.
 */
#ifndef DEEPCOMPRESSION_H
#define DEEPCOMPRESSION_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define DCZ_API
#else
#define DCZ_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Programs run with every library of the same number that is not older than the header they were built with. */
#define DCZ_ABI_VERSION 1

/* Whose fault it is. */
typedef int32_t dcz_status;
#define DCZ_DONE 0
#define DCZ_BAD_CALL 2 /* the caller's: an argument */
#define DCZ_BAD_FILE 3 /* the file's: it is damaged, or of another kind */
#define DCZ_SYSTEM 4   /* the system's: no such file, no memory */
#define DCZ_BUG 5      /* this library's */

/* The version of the library, such as "0.1.0", and its DCZ_ABI_VERSION. */
DCZ_API const char* dcz_version(void);
DCZ_API uint32_t dcz_abi_version(void);

/* Of this thread's last call that failed; "" before. At most 1023 bytes, UTF-8. It stays until the next such call. */
DCZ_API const char* dcz_message(void);

/* Text of a file, UTF-8. A zero byte ends it; it may also hold some. */
typedef struct dcz_text {
  const char* bytes;
  size_t length;
} dcz_text;

/* ---- files ---- */

/* A file open for reading. */
typedef struct dcz_reader dcz_reader;

/* Opens a file; its index alone is read and checked. `limit_bytes` bounds the bytes of all decoded tensors together; 0
 * stands for 64 GiB. */
DCZ_API dcz_status dcz_reader_open(const char* path, uint64_t limit_bytes, dcz_reader** reader);

/* The same for a file in memory, which is not copied and must stay until the reader is closed. */
DCZ_API dcz_status dcz_reader_open_memory(const void* bytes, size_t size, uint64_t limit_bytes, dcz_reader** reader);

/* Frees the reader; NULL is allowed. Packed weights made from it stay. */
DCZ_API void dcz_reader_close(dcz_reader* reader);

/* The number of tensors, tied ones included. 0 for NULL. */
DCZ_API size_t dcz_reader_count(const dcz_reader* reader);

/* A tensor of the index. */
typedef struct dcz_entry {
  dcz_text name;
  const char* dtype;     /* "F32", "I8" ...: docs/format.md has them all */
  const char* coder;     /* "raw", "fast" ... */
  const uint64_t* shape; /* of `dimensions` axes */
  size_t dimensions;
  uint64_t bytes;        /* of the elements, in C order, little-endian, as dcz_reader_decode gives them */
  uint64_t stored_bytes; /* of the payload */
  size_t tied_to;        /* number of the tensor whose payload it is; its own number unless it is tied */
} dcz_entry;

/* Fills the first `size` bytes of the entry: pass sizeof(dcz_entry). Tensors are numbered from 0 in the file's order.
 */
DCZ_API dcz_status dcz_reader_entry(const dcz_reader* reader, size_t number, dcz_entry* entry, size_t size);

/* The number of the tensor with this name. */
DCZ_API dcz_status dcz_reader_find(const dcz_reader* reader, const char* name, size_t* number);

/* The number of metadata entries, 0 for NULL; the key and value of one, in ascending order of keys. */
DCZ_API size_t dcz_reader_metadata_count(const dcz_reader* reader);
DCZ_API dcz_status dcz_reader_metadata(const dcz_reader* reader, size_t number, dcz_text* key, dcz_text* value);

/* The elements of a tensor, dense. `size` is the entry's `bytes`. `threads` decode a large one together; 0 stands for
 * all CPUs. After an error the elements are all zero, or as they were. */
DCZ_API dcz_status dcz_reader_decode(const dcz_reader* reader, size_t number, void* elements, size_t size,
                                     uint32_t threads);

/* Compares the checksum of a tensor's payload, without decoding it. */
DCZ_API dcz_status dcz_reader_check(const dcz_reader* reader, size_t number);

/* ---- products ---- */

/* A pruned and shared matrix, packed for products. It does not change. */
typedef struct dcz_packed dcz_packed;

/* The kind of vectors. With int8, each vector is rounded to 255 steps between -max|x| and max|x|, and sums are exact;
 * some packed weights compute in float32 all the same, which is more exact. */
typedef int32_t dcz_activations;
#define DCZ_ACTIVATIONS_FLOAT32 0
#define DCZ_ACTIVATIONS_INT8 1

/* Packs a shared tensor of two or more dimensions: the first counts the rows, the others together the columns. The form
 * is the one that multiplies so many vectors of this kind fastest at once; other products work too, more slowly. */
DCZ_API dcz_status dcz_packed_make(const dcz_reader* reader, size_t number, dcz_activations activations, size_t vectors,
                                   uint32_t threads, dcz_packed** packed);

/* Frees packed weights; NULL is allowed. */
DCZ_API void dcz_packed_free(dcz_packed* packed);

typedef struct dcz_packed_facts {
  uint64_t rows, columns;
  uint64_t survivors; /* weights that are not pruned */
  uint64_t centroids;
  const char* form;  /* "window", "panel" ... */
  const void* bytes; /* the packed weights */
  size_t size;
} dcz_packed_facts;

/* Fills the first `size` bytes of the facts: pass sizeof(dcz_packed_facts). */
DCZ_API dcz_status dcz_packed_describe(const dcz_packed* packed, dcz_packed_facts* facts, size_t size);

/* y = x W^T + bias. Lengths are in floats. */
typedef struct dcz_product {
  size_t vectors;
  const float* x; /* vectors times columns */
  size_t x_length;
  const float* bias; /* rows, or NULL with length 0 */
  size_t bias_length;
  float* y; /* vectors times rows, apart from x and bias */
  size_t y_length;
  dcz_activations activations;
  uint32_t threads; /* 0: all CPUs; the result does not depend on it */
} dcz_product;

/* Computes a product. `size` is sizeof(dcz_product). Infinities and NaNs reach y as through a dense layer. */
DCZ_API dcz_status dcz_packed_multiply(const dcz_packed* packed, const dcz_product* product, size_t size);

/* ---- instruction sets ---- */

/* The names of those that this build and this CPU have, slowest first, with spaces between: "portable neon". */
DCZ_API const char* dcz_instruction_sets(void);

/* The one in use: the forced one, else the one in the environment's DEEPCOMPRESSION_CPU, else the best. */
DCZ_API dcz_status dcz_instruction_set(const char** name);

/* Forces one for the whole process; "" frees it. Packed weights choose their form for the one in use. */
DCZ_API dcz_status dcz_force_instruction_set(const char* name);

#ifdef __cplusplus
}
#endif

#endif
