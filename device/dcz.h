/* Opens a `.dcz` file in a few hundred bytes of memory: tensors by name, metadata, checksums.

   docs/format.md describes the file. Nothing is allocated, and no name or shape is kept in memory.
   The bytes lie in memory (flash), or a callback reads them. Sizes are of 32 bits: a file, and what
   one tensor takes when it is decoded, have fewer than 2^32 bytes. rows.h decodes tensors. */
#ifndef DCZ_H
#define DCZ_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes that a callback is asked for at once. Functions that read through a callback have such a
   buffer on the stack, and dcz_rows_open takes one from the work buffer. */
#ifndef DCZ_BUFFER
#define DCZ_BUFFER 32
#endif

/* dcz_open checks that names are UTF-8 and unique as far as names of so many bytes go, with such a
   buffer on the stack. 0: it checks neither, and trusts the checksum of the index in this. Longer
   names are not checked. */
#ifndef DCZ_NAME
#define DCZ_NAME 80
#endif

/* The tensors of a file, at most: the time of dcz_open grows with their square. */
#ifndef DCZ_TENSORS
#define DCZ_TENSORS 4096
#endif

/* The axes of a shape that dcz_tensor keeps. */
#ifndef DCZ_AXES
#define DCZ_AXES 8
#endif

typedef enum {
  DCZ_OK,
  DCZ_ERROR_READ,      /* the callback failed */
  DCZ_ERROR_MAGIC,     /* not a .dcz file */
  DCZ_ERROR_VERSION,   /* a version, dtype or coder by a number that version 1 does not have */
  DCZ_ERROR_TRUNCATED, /* the file ends too early */
  DCZ_ERROR_CHECKSUM,  /* damaged bytes */
  DCZ_ERROR_INDEX,     /* the index is not as docs/format.md says, or bytes follow the payloads */
  DCZ_ERROR_NOT_FOUND, /* no tensor or metadata entry of this name or number */
  DCZ_ERROR_CODER,     /* this build cannot decode the coder of the tensor */
  DCZ_ERROR_PAYLOAD,   /* a payload is not as docs/format.md says */
  DCZ_ERROR_WORK,      /* the work buffer is too small, or not aligned to 4 bytes */
  DCZ_ERROR_SIZE,      /* too large for this library, or for the room that the caller gave */
  DCZ_ERROR_RANGE,     /* no such row, or bytes outside of a file */
  DCZ_ERROR_OLD        /* the patch is for another file */
} dcz_error;

/* What went wrong, as a sentence without its full stop (error_text.c). */
const char *dcz_error_text(dcz_error error);

/* Reads `length` bytes of the file, from `offset` on. Returns DCZ_OK, or an error that goes to the
   caller unchanged. It is never asked for bytes behind the file's end. */
typedef dcz_error (*dcz_read)(void *user, uint32_t offset, void *to, uint32_t length);

/* A file of `size` bytes: in memory, or read by the callback if `memory` is NULL. */
typedef struct {
  const uint8_t *memory;
  dcz_read read;
  void *user;
  uint32_t size;
} dcz_source;

/* An open file. It has no state: tensors of one file can be read side by side. */
typedef struct {
  dcz_source source;
  uint32_t index;    /* offset of the index, which begins with the metadata */
  uint32_t entries;  /* offset of the first tensor in the index */
  uint32_t payloads; /* offset of the first payload; the index ends 4 bytes before */
  uint32_t tensors;  /* how many tensors the index names, aliases too */
} dcz_file;

/* The coders of docs/format.md. */
enum {
  DCZ_ALIAS,
  DCZ_RAW,
  DCZ_SPARSE,
  DCZ_HUFFMAN,
  DCZ_FAST,
  DCZ_SMALL,
  DCZ_DEFLATE,
  DCZ_DEVICE,
  DCZ_CODERS
};

/* The dtypes of docs/format.md. Those from F64 to BF16 are the weight dtypes. */
enum {
  DCZ_F64,
  DCZ_F32,
  DCZ_F16,
  DCZ_BF16,
  DCZ_F8_E4M3,
  DCZ_F8_E5M2,
  DCZ_I64,
  DCZ_I32,
  DCZ_I16,
  DCZ_I8,
  DCZ_U64,
  DCZ_U32,
  DCZ_U16,
  DCZ_U8,
  DCZ_BOOL,
  DCZ_C64,
  DCZ_C128,
  DCZ_C32,
  DCZ_F8_E8M0,
  DCZ_F8_E4M3FNUZ,
  DCZ_F8_E5M2FNUZ,
  DCZ_F6_E2M3,
  DCZ_F6_E3M2,
  DCZ_F4,
  DCZ_I4,
  DCZ_U4,
  DCZ_I2,
  DCZ_U2,
  DCZ_DTYPES
};

/* A tensor as its payload holds it: rows x cols elements of `size` bytes, row after row.

   The first axis gives the rows; a tensor of one axis or none is one row. A tensor whose elements
   take less than a byte, or 16 bytes, is one row of bytes, or of 8-byte integers (docs/format.md,
   "Rows"). */
typedef struct {
  uint8_t coder, dtype;
  uint8_t ndim;             /* 0 to 32 */
  uint8_t size;             /* bytes of an element: 1, 2, 4 or 8 */
  uint32_t shape[DCZ_AXES]; /* the first axes, in elements of the dtype; 1 behind the last */
  uint32_t rows, cols;
  uint32_t offset, length; /* of the payload in the file */
  uint32_t checksum;       /* CRC-32 of the payload */
} dcz_tensor;

/* Opens a file: checks magic, version, the checksum of the index and everything in the index, and
   that the file ends with the last payload. `source` is copied; the memory or callback that it
   names must last. Payloads are checked by dcz_check, and as they are decoded. DCZ_ERROR_SIZE: more
   than DCZ_TENSORS tensors. */
dcz_error dcz_open(dcz_file *file, const dcz_source *source);

/* The tensor of this name, UTF-8 with a zero at its end. An alias gives the tensor that it is tied
   to. DCZ_ERROR_SIZE: rows, columns or bytes of the decoded tensor reach 2^32. */
dcz_error dcz_find(const dcz_file *file, const char *name, dcz_tensor *tensor);

/* The tensor of this number, from 0, in the order of the index; as dcz_find. */
dcz_error dcz_at(const dcz_file *file, uint32_t number, dcz_tensor *tensor);

/* The name of the tensor of this number, with a zero at its end. DCZ_ERROR_SIZE if it and the zero
   take more than `room` bytes. */
dcz_error dcz_name(const dcz_file *file, uint32_t number, char *to, uint32_t room);

/* The metadata entry of this key, with a zero at its end; as dcz_name. */
dcz_error dcz_metadata(const dcz_file *file, const char *key, char *to, uint32_t room);

/* Whether the payload has its checksum. Every byte of it is read once. */
dcz_error dcz_check(const dcz_file *file, const dcz_tensor *tensor);

/* The bytes of the work buffer that rows.h needs for this tensor; 0 for none. */
dcz_error dcz_work_size(const dcz_file *file, const dcz_tensor *tensor, uint32_t *bytes);

/* The CRC-32 of `length` bytes, continued from the checksum `start` of the bytes before; 0 at
   first. As zlib's. */
uint32_t dcz_crc(uint32_t start, const uint8_t *bytes, uint32_t length);

/* Inner interface: a function with a stack frame of its own, so that its caller's stays small. */
#if defined(__GNUC__)
#define DCZ_APART __attribute__((noinline))
#else
#define DCZ_APART
#endif

/* Inner interface: bytes from `begin` to `end` of a source, one after the other, in memory or
   through a buffer. Behind `end`, and after an error, there are zeros. */
typedef struct {
  const dcz_source *source;
  const uint8_t *now, *stop; /* the bytes at hand */
  uint8_t *buffer;           /* DCZ_BUFFER bytes, only used with a callback */
  uint32_t at, end;          /* offsets in the file: of the byte at `stop`; of the end */
  uint32_t behind;           /* zeros that were brought to hand, 16 at most */
  dcz_error flaw;            /* what bytes are that are not as they should be */
  dcz_error error;           /* the first one of the callback or the bytes */
} dcz_cursor;

/* `source`, `buffer` and `flaw` are the caller's to set before, and the error is his to clear. */
void dcz_cursor_set(dcz_cursor *cursor, uint32_t begin, uint32_t end);
/* Brings bytes to hand when none are left: now < stop afterwards. */
void dcz_cursor_more(dcz_cursor *cursor);
/* The bytes that are left, unless zeros are at hand. */
uint32_t dcz_cursor_left(const dcz_cursor *cursor);
/* Notes the flaw if `wrong`. */
void dcz_cursor_refuse(dcz_cursor *cursor, int wrong);
uint8_t dcz_cursor_byte(dcz_cursor *cursor);
/* A number of docs/format.md, "varint", of at most 32 bits; 0 with the flaw noted otherwise. */
uint32_t dcz_cursor_number(dcz_cursor *cursor);

#ifdef __cplusplus
}
#endif

#endif
