/* Plain patches: an input is the size of OLD in two bytes, OLD, and a patch.

   The fields of the patch are set right, so that the fuzzer reaches its operations. Three runs must
   end alike: in memory; by callbacks; and with the state moved to another place after each step, as
   a log keeps it when power fails. */
#include <stdlib.h>
#include <string.h>

#include "patch_inner.h"

enum { MOST_BYTES = 1 << 16, WORK_BYTES = 1 << 14, FIXED_BYTES = 5 + 5 * 3 + 8 };

typedef struct {
  uint8_t *bytes;
  uint32_t size;
} content;

static dcz_error read_content(void *user, uint32_t offset, void *to, uint32_t length) {
  const content *from = (const content *)user;
  if (offset > from->size || length > from->size - offset) abort();
  memcpy(to, from->bytes + offset, length);
  return DCZ_OK;
}

static dcz_error keep(void *user, uint32_t offset, const uint8_t *from, uint32_t length) {
  content *to = (content *)user;
  if (offset != to->size || length > MOST_BYTES - to->size) abort();
  memcpy(to->bytes + offset, from, length);
  to->size += length;
  return DCZ_OK;
}

static void put_varint(content *to, uint32_t value) {
  for (; value >= 0x80; value >>= 7) to->bytes[to->size++] = (uint8_t)(value | 0x80);
  to->bytes[to->size++] = (uint8_t)value;
}

static void put_fixed(content *to, uint32_t value) {
  uint32_t shift = 0;
  for (; shift < 32; shift += 8) to->bytes[to->size++] = (uint8_t)(value >> shift);
}

static uint32_t take_varint(const uint8_t *data, size_t size, size_t *at) {
  uint32_t value = 0, shift = 0;
  while (*at < size && shift < 28) {
    value |= (uint32_t)(data[*at] & 0x7f) << shift;
    if (data[(*at)++] < 0x80) break;
    shift += 7;
  }
  return value;
}

/* The operations of `data` under fields that are right. */
static content with_fields(const uint8_t *data, size_t size, const content *old) {
  content patch = {malloc(size + FIXED_BYTES + 4), 0};
  size_t at = 5;
  uint32_t new_size, work_size;
  take_varint(data, size, &at);
  at += 4;
  new_size = take_varint(data, size, &at) % MOST_BYTES;
  at += 4;
  work_size = take_varint(data, size, &at) % WORK_BYTES;
  memcpy(patch.bytes,
         "\x89"
         "DCP\x01",
         5);
  patch.size = 5;
  put_varint(&patch, old->size);
  put_fixed(&patch, dcz_crc(0, old->bytes, old->size));
  put_varint(&patch, new_size);
  put_fixed(&patch, 0);
  put_varint(&patch, work_size);
  if (at + 4 < size) {
    memcpy(patch.bytes + patch.size, data + at, size - 4 - at);
    patch.size += (uint32_t)(size - 4 - at);
  }
  put_fixed(&patch, dcz_crc(0, patch.bytes, patch.size));
  return patch;
}

/* The checksum of NEW is not known: whether it is wrong is no matter. */
static dcz_error run(content *old, content *patch, content *new, int by_callbacks, int moving) {
  dcz_source from = {old->bytes, NULL, NULL, old->size},
             bytes = {patch->bytes, NULL, NULL, patch->size};
  uint32_t *work = malloc(WORK_BYTES), *other = malloc(WORK_BYTES), *spare;
  dcz_patch *p = malloc(sizeof *p);
  dcz_patch_state state;
  dcz_error error;
  if (by_callbacks) {
    from.memory = bytes.memory = NULL;
    from.read = bytes.read = read_content;
    from.user = old;
    bytes.user = patch;
  }
  new->size = 0;
  error = dcz_patch_open(p, &bytes, &from, work, WORK_BYTES);
  if (error) abort();
  dcz_patch_begin(p);
  while (!dcz_patch_done(p)) {
    dcz_patch_step(p, keep, new);
    if (!moving) continue;
    state = p->at;
    memcpy(other, work, 2 * p->at.used);
    memset(work, 0xa5, WORK_BYTES);
    memset(&p->at, 0xa5, sizeof p->at);
    p->at = state;
    p->work = (uint16_t *)other;
    p->old_window.length = p->patch_window.length = 0;
    spare = work;
    work = other;
    other = spare;
  }
  error = dcz_patch_finish(p);
  free(p);
  free(work);
  free(other);
  return error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  content old = {NULL, 0}, patch, new[3];
  dcz_error errors[3];
  uint32_t i;
  if (size < 2) return 0;
  old.size = (uint32_t)data[0] | (uint32_t)data[1] << 8;
  if (old.size > size - 2) old.size = (uint32_t)size - 2;
  old.bytes = malloc(old.size + 1);
  memcpy(old.bytes, data + 2, old.size);
  patch = with_fields(data + 2 + old.size, size - 2 - old.size, &old);
  for (i = 0; i < 3; ++i) {
    new[i].bytes = malloc(MOST_BYTES);
    errors[i] = run(&old, &patch, &new[i], i > 0, i == 2);
    if (errors[i] != errors[0] || new[i].size != new[0].size) abort();
    if (memcmp(new[i].bytes, new[0].bytes, new[0].size) != 0) abort();
  }
  for (i = 0; i < 3; ++i) free(new[i].bytes);
  free(old.bytes);
  free(patch.bytes);
  return 0;
}
