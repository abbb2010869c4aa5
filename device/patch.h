/* Makes a new file of an old one and a patch: docs/format.md, "Patch". patch_flash.h does it in
   place.

   Nothing is allocated. The tables of an operation lie in a work buffer, whose size the patch
   states. OLD and the patch lie in memory, or callbacks read them; NEW is written from front to
   back. */
#ifndef DCZ_PATCH_H
#define DCZ_PATCH_H

#include "dcz.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of NEW that are given out at once; the last chunk may have fewer. */
#define DCZ_PATCH_CHUNK 64

/* The elements that an operation may change. */
#define DCZ_PATCH_ELEMENTS (UINT32_C(1) << 28)

/* Takes bytes of NEW, which go to `offset`. An error goes to the caller unchanged. */
typedef dcz_error (*dcz_write)(void *user, uint32_t offset, const uint8_t *from, uint32_t length);

/* Bits of a stream: the `count` ones at hand, from the top; `at` is the offset of the next byte. */
typedef struct {
  uint32_t at, bits, count;
} dcz_patch_bits;

/* A Huffman code: `count` entries of the work buffer. */
typedef struct {
  uint16_t start, count;
} dcz_patch_table;

/* A tensor in the coder `device`, read or written from front to back. */
typedef struct {
  uint32_t elements; /* of the tensor */
  uint32_t group;    /* of a whole group */
  uint32_t base;     /* the first one of the group at hand */
  uint32_t at;       /* those of this group that are behind us */
  uint16_t alphabet; /* codes are below */
  uint16_t pruned;   /* the symbol of an element that is zero */
  uint8_t escape;    /* the gap that no survivor follows */
  uint8_t filled;    /* whether every element has a symbol */
} dcz_patch_tensor;

/* All that changes while NEW is made, besides the tables: it can be saved and restored. */
typedef struct {
  uint32_t cursor;   /* offset of the patch's next byte */
  uint32_t old;      /* offset behind the byte of OLD that was used last */
  uint32_t written;  /* bytes of NEW that were given out */
  uint32_t checksum; /* of them */
  uint32_t left;     /* bytes or elements that the operation at hand has left */
  uint32_t used;     /* entries of the work buffer in use */
  uint32_t changes;  /* elements or survivors that differ from here on, at most */
  uint32_t run;      /* the ones before the next that differs */
  dcz_patch_tensor from, to;
  uint32_t position, target;     /* of the survivor of OLD and of the one of NEW at hand */
  uint32_t insertions, inserted; /* how many are left, and the position of the next */
  dcz_patch_bits old_bits, patch_bits, new_bits;
  dcz_patch_table tables[9];
  uint16_t edits;             /* the tables of the edits: where the work buffer has their starts */
  uint16_t code, target_code; /* of the survivors at hand */
  uint8_t operation, options, have, have_target;
  uint8_t held; /* bytes in `out` */
  uint8_t out[DCZ_PATCH_CHUNK + 8];
} dcz_patch_state;

/* Some bytes of a source that a callback reads. */
typedef struct {
  uint32_t from, length;
  uint8_t bytes[32];
} dcz_patch_window;

typedef struct {
  dcz_source patch, old;
  uint16_t *work;
  uint32_t room; /* entries of the work buffer */
  uint32_t old_size, old_checksum, new_size, new_checksum;
  uint32_t checksum;    /* of the patch, whose name it serves as */
  uint32_t work_size;   /* bytes of the work buffer that the patch needs */
  uint32_t first, end;  /* offsets of the operations and behind them */
  uint32_t page, shift; /* see dcz_patch_check */
  dcz_error error;      /* the first one; it stays */
  dcz_patch_state at;
  dcz_patch_window patch_window, old_window;
} dcz_patch;

/* Opens a patch of the file `old`, and checks the patch's checksum. A patch may be NEW as a
   whole, a `.dcz` file: then it goes with any `old`. `work` is aligned to 4 bytes, has `size` bytes
   and must last, as must what the sources name. DCZ_ERROR_WORK: the patch needs `work_size` bytes,
   or `work` is not aligned. DCZ_ERROR_CODER: the patch needs encoders that only the Python package
   has. */
dcz_error dcz_patch_open(dcz_patch *patch, const dcz_source *bytes, const dcz_source *old,
                         void *work, uint32_t size);

/* Checks the checksum of OLD, makes NEW without writing it, and checks the checksum of NEW. After
   DCZ_OK only reads and writes can fail. DCZ_ERROR_OLD: the patch is for another file.
   NEW may overwrite OLD, page by page of `page` bytes, if OLD lies at least `shift` bytes behind
   NEW's place: this sets `shift`. A page is 1, or a multiple of DCZ_PATCH_CHUNK. */
dcz_error dcz_patch_check(dcz_patch *patch, uint32_t page);

/* Checks the checksum of OLD, and writes NEW to another place. Then checks the checksum of NEW:
   what was written is of no use unless this gives DCZ_OK. */
dcz_error dcz_patch_apply(dcz_patch *patch, dcz_write write, void *user);

#ifdef __cplusplus
}
#endif

#endif
