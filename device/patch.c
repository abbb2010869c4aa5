/* A patch as a whole: its fields, and what callers want of it. */
#include "patch.h"

#include <string.h>

#include "patch_inner.h"

enum { CHECKSUM_BYTES = 4, VERSION = 1 };

/* the first four bytes, the lowest one first: 0x89 'D' 'C' and another letter */
static const uint32_t MAGIC = 0x50434489, MAGIC_OF_RECODING = 0x52434489, MAGIC_OF_DCZ = 0x5a434489;

static uint32_t fixed(dcz_patch *p) {
  uint32_t value = 0, shift = 0;
  for (; shift < 32; shift += 8) value |= dcz_patch_byte(p) << shift;
  return value;
}

/* A patch that is NEW as a whole: its own checksums stand for it. */
static dcz_error open_whole(dcz_patch *p) {
  dcz_file file;
  dcz_tensor tensor;
  uint32_t number = 0;
  dcz_error error = dcz_open(&file, &p->patch);
  for (; !error && number < file.tensors; ++number) {
    error = dcz_at(&file, number, &tensor);
    if (!error) error = dcz_check(&file, &tensor);
  }
  p->new_size = p->end = p->patch.size;
  if (!error) error = dcz_patch_checksum(&p->patch, p->end, &p->new_checksum);
  p->checksum = p->new_checksum;
  return error;
}

static dcz_error open_fields(dcz_patch *p) {
  uint32_t found = 0, expected;
  if (dcz_patch_byte(p) != VERSION) return p->error ? p->error : DCZ_ERROR_VERSION;
  p->old_size = dcz_patch_varint(p);
  p->old_checksum = fixed(p);
  p->new_size = dcz_patch_varint(p);
  p->new_checksum = fixed(p);
  p->work_size = dcz_patch_varint(p);
  p->first = p->at.cursor;
  if (p->patch.size - p->first < CHECKSUM_BYTES) return DCZ_ERROR_TRUNCATED;
  p->at.cursor = p->patch.size - CHECKSUM_BYTES;
  expected = fixed(p);
  p->end = p->patch.size - CHECKSUM_BYTES;
  if (p->error) return p->error;
  p->error = dcz_patch_checksum(&p->patch, p->end, &found);
  if (p->error) return p->error;
  p->checksum = expected;
  return found == expected ? DCZ_OK : DCZ_ERROR_CHECKSUM;
}

dcz_error dcz_patch_open(dcz_patch *p, const dcz_source *bytes, const dcz_source *old, void *work,
                         uint32_t size) {
  uint32_t magic;
  dcz_error error = DCZ_ERROR_MAGIC;
  memset(p, 0, sizeof *p);
  p->patch = *bytes;
  p->old = *old;
  p->work = work;
  p->room = size / 2 < UINT16_MAX ? size / 2 : UINT16_MAX;
  p->page = 1;
  p->end = bytes->size;
  magic = fixed(p);
  if (magic == MAGIC) error = open_fields(p);
  if (magic == MAGIC_OF_RECODING) error = DCZ_ERROR_CODER;
  if (magic == MAGIC_OF_DCZ) error = open_whole(p);
  if (!error && (p->work_size / 2 > p->room || ((uintptr_t)work & 3) != 0)) error = DCZ_ERROR_WORK;
  p->room = p->work_size / 2;
  dcz_patch_fail(p, error);
  return p->error;
}

static dcz_error make(dcz_patch *p, dcz_write write, void *user) {
  uint32_t found = 0;
  if (p->error) return p->error;
  if (p->old.size < p->old_size) return DCZ_ERROR_OLD;
  p->error = dcz_patch_checksum(&p->old, p->old_size, &found);
  if (p->error) return p->error;
  if (found != p->old_checksum || (p->first > 0 && p->old.size != p->old_size))
    return DCZ_ERROR_OLD;
  dcz_patch_begin(p);
  while (!dcz_patch_done(p)) dcz_patch_step(p, write, user);
  return dcz_patch_finish(p);
}

dcz_error dcz_patch_check(dcz_patch *p, uint32_t page) {
  p->page = page;
  p->shift = 0;
  return make(p, NULL, NULL);
}

dcz_error dcz_patch_apply(dcz_patch *p, dcz_write write, void *user) {
  return make(p, write, user);
}
