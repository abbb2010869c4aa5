/* Patches in a simulated NOR flash that loses its power: one program for the tests of
   test_patch_flash.py.

   update OLD PATCH NEW PAGE REGION LOG WORK           applies it once; prints how much was written
   cuts OLD PATCH NEW PAGE REGION LOG WORK STEP SEED   loses power at every STEP-th byte that is
   written, then again and again at random ones, until the update ends damaged OLD PATCH NEW PAGE
   REGION LOG WORK          truncates the patch everywhere, flips every bit, with the checksum as it
   was and with the right one unread OLD PATCH NEW PAGE REGION LOG WORK STEP      lets every STEP-th
   call of a callback fail */
#include "patch_flash.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  uint8_t *bytes;
  uint32_t size;
} content;

static content old, patch, new;
static uint32_t page, region_pages, log_pages, work_bytes;

static uint32_t random_state = 1;

static uint32_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  return random_state ^= random_state << 5;
}

static void stop(const char *why) {
  fprintf(stderr, "%s\n", why);
  exit(1);
}

static content load(const char *path) {
  content found = {NULL, 0};
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) stop(path);
  found.size = (uint32_t)ftell(file);
  found.bytes = malloc(found.size);
  rewind(file);
  if (!found.bytes || fread(found.bytes, 1, found.size, file) != found.size) stop(path);
  fclose(file);
  return found;
}

/* The region lies at 0, the log behind it and another page. */
typedef struct {
  uint8_t *bytes;
  uint32_t size;
  uint64_t left;    /* bytes until power fails */
  uint64_t written; /* an erased page counts as its bytes */
  uint64_t calls, failing;
  int dead;
} memory;

static memory flash_memory;

static dcz_error called(memory *m) {
  if (m->failing > 0 && ++m->calls == m->failing) return (dcz_error)99;
  return m->dead ? DCZ_ERROR_READ : DCZ_OK;
}

static dcz_error read_flash(void *user, uint32_t offset, void *to, uint32_t length) {
  memory *m = user;
  dcz_error error = called(m);
  if (error) return error;
  if (offset > m->size || length > m->size - offset) stop("a read outside of the flash");
  memcpy(to, m->bytes + offset, length);
  return DCZ_OK;
}

/* Power fails within these bytes: their page may hold anything. */
static int fails(memory *m, uint32_t offset, uint32_t length) {
  uint32_t i;
  if (m->left >= length) {
    m->left -= length;
    m->written += length;
    return 0;
  }
  m->dead = 1;
  for (i = 0; i < page; ++i) m->bytes[offset / page * page + i] = (uint8_t)(next_random() >> 11);
  return 1;
}

static void check_place(const memory *m, uint32_t offset, uint32_t length) {
  uint32_t log = (region_pages + 1) * page;
  int in_region = offset + length <= region_pages * page;
  if (!in_region && (offset < log || offset + length > m->size))
    stop("a write outside of region and log");
}

static dcz_error erase_flash(void *user, uint32_t offset) {
  memory *m = user;
  dcz_error error = called(m);
  if (error) return error;
  if (offset % page) stop("an erased page is not a page");
  check_place(m, offset, page);
  if (fails(m, offset, page)) return DCZ_ERROR_READ;
  memset(m->bytes + offset, 0xff, page);
  return DCZ_OK;
}

static dcz_error program_flash(void *user, uint32_t offset, const uint8_t *from) {
  memory *m = user;
  uint32_t i;
  dcz_error error = called(m);
  if (error) return error;
  if (offset % DCZ_PATCH_CHUNK) stop("a programmed chunk is not a chunk");
  check_place(m, offset, DCZ_PATCH_CHUNK);
  if (fails(m, offset, DCZ_PATCH_CHUNK)) return DCZ_ERROR_READ;
  for (i = 0; i < DCZ_PATCH_CHUNK; ++i) {
    if (m->bytes[offset + i] != 0xff) stop("a chunk is programmed that was not erased");
    m->bytes[offset + i] = from[i];
  }
  return DCZ_OK;
}

static dcz_error read_patch(void *user, uint32_t offset, void *to, uint32_t length) {
  const content *bytes = user;
  dcz_error error = called(&flash_memory);
  if (error) return error;
  if (offset > bytes->size || length > bytes->size - offset) stop("a read outside of the patch");
  memcpy(to, bytes->bytes + offset, length);
  return DCZ_OK;
}

static void fresh_flash(void) {
  memory *m = &flash_memory;
  uint32_t i;
  m->size = (region_pages + 1 + log_pages) * page;
  if (!m->bytes) m->bytes = malloc(m->size);
  if (!m->bytes) stop("no memory");
  for (i = 0; i < m->size; i += 7) m->bytes[i] = (uint8_t)(next_random() >> 7);
  memcpy(m->bytes, old.bytes, old.size);
  m->left = UINT64_MAX;
  m->written = m->calls = m->failing = 0;
  m->dead = 0;
}

static dcz_patch state;
static uint32_t askew; /* bytes by which the work buffer misses its alignment */

static dcz_error update(content *bytes) {
  dcz_flash flash = {&flash_memory, read_flash, erase_flash, program_flash, 0, 0, 0, 0, 0};
  dcz_source source = {NULL, read_patch, NULL, 0};
  uint8_t *work = malloc(work_bytes + askew + (work_bytes == 0));
  dcz_error error;
  source.user = bytes;
  source.size = bytes->size;
  flash.page = page;
  flash.region_pages = region_pages;
  flash.log = (region_pages + 1) * page;
  flash.log_pages = log_pages;
  memset(&state, 0xa5, sizeof state); /* nothing lasts in RAM */
  error = dcz_patch_flash(&state, &source, &flash, work + askew, work_bytes);
  free(work);
  return error;
}

static int holds(const content *file) {
  return !memcmp(flash_memory.bytes, file->bytes, file->size);
}

/* NEW is there and may be asked for again. No record is left: another file stays as it is, unless
   the patch goes with any. */
static void check_end(void) {
  if (!holds(&new)) stop("another file than NEW");
  if (update(&patch) || !holds(&new)) stop("the update cannot be called again");
  flash_memory.bytes[new.size / 2] ^= 1;
  if (patch.bytes[3] != 'Z' && update(&patch) != DCZ_ERROR_OLD) stop("another file is not refused");
  flash_memory.bytes[new.size / 2] ^= 1;
  if (!holds(&new)) stop("a refused update changed the region");
}

static void run_update(void) {
  dcz_error error;
  fresh_flash();
  askew = 1;
  if (update(&patch) == DCZ_OK) stop("a work buffer at an odd address is used");
  askew = 0;
  error = update(&patch);
  if (error) {
    if (!holds(&old)) stop("a refused patch changed the region");
    printf("error %d\n", (int)error);
    return;
  }
  printf("written %lu state %lu log %lu\n", (unsigned long)flash_memory.written,
         (unsigned long)sizeof state, (unsigned long)dcz_patch_log_bytes(&state));
  check_end();
}

/* Power fails at one byte, then at random ones during the recoveries. */
static void cut(uint64_t at) {
  dcz_error error;
  int cuts = 0;
  fresh_flash();
  flash_memory.left = at;
  while ((error = update(&patch)) != DCZ_OK) {
    if (!flash_memory.dead) {
      fprintf(stderr, "cut at %lu, after %d cuts: error %d\n", (unsigned long)at, cuts, (int)error);
      exit(1);
    }
    flash_memory.dead = 0;
    flash_memory.left = ++cuts < 6 ? next_random() % (4 * page) : UINT64_MAX;
  }
  check_end();
}

static void run_cuts(uint64_t step, uint32_t seed) {
  uint64_t all, at, count = 0;
  random_state = seed;
  fresh_flash();
  if (update(&patch)) stop("the patch is refused");
  all = flash_memory.written;
  for (at = step > 1 ? next_random() % step : 0; at < all; at += step, ++count) cut(at);
  printf("cuts %lu of %lu\n", (unsigned long)count, (unsigned long)all);
}

/* Either an error, and OLD is there, or NEW. */
static int tried(content *bytes) {
  dcz_error error;
  memcpy(flash_memory.bytes, old.bytes, old.size);
  error = update(bytes);
  if (error ? !holds(&old) : !holds(&new)) stop("a damaged patch did harm");
  return error == DCZ_OK;
}

static void set_checksum(content *bytes) {
  uint32_t checksum = dcz_crc(0, bytes->bytes, bytes->size - 4), i;
  for (i = 0; i < 4; ++i) bytes->bytes[bytes->size - 4 + i] = (uint8_t)(checksum >> (8 * i));
}

static void run_damaged(void) {
  content part;
  uint32_t bit;
  unsigned long refused = 0, harmless = 0;
  fresh_flash();
  for (part.size = 0; part.size < patch.size; ++part.size, ++refused) {
    part.bytes = malloc(part.size ? part.size : 1); /* a read behind the end is found */
    if (!part.bytes) stop("no memory");
    memcpy(part.bytes, patch.bytes, part.size);
    if (tried(&part)) stop("a truncated patch was applied");
    free(part.bytes);
  }
  for (bit = 0; bit < 8 * patch.size; ++bit, ++refused) {
    patch.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    if (tried(&patch)) stop("a patch with a flipped bit was applied");
    if (bit < 8 * (patch.size - 4)) {
      set_checksum(&patch);
      if (tried(&patch)) ++harmless;
    }
    patch.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    if (bit < 8 * (patch.size - 4)) set_checksum(&patch);
  }
  printf("refused %lu harmless %lu\n", refused, harmless);
}

static void run_unread(uint64_t step) {
  uint64_t at = 1;
  unsigned long failures = 0;
  for (;; at += step) {
    fresh_flash();
    flash_memory.failing = at;
    if (update(&patch) == DCZ_OK) break;
    ++failures;
    flash_memory.failing = 0;
    if (update(&patch) || !holds(&new)) stop("a failure of a callback did harm");
  }
  printf("failures %lu\n", failures);
}

int main(int count, char **words) {
  const char *what = count > 8 ? words[1] : "";
  if (count < 9) stop("see the comment at the top");
  old = load(words[2]);
  patch = load(words[3]);
  new = load(words[4]);
  page = (uint32_t)atol(words[5]);
  region_pages = (uint32_t)atol(words[6]);
  log_pages = (uint32_t)atol(words[7]);
  work_bytes = (uint32_t)atol(words[8]);
  if (!strcmp(what, "update")) run_update();
  if (!strcmp(what, "cuts") && count == 11)
    run_cuts((uint64_t)atol(words[9]), (uint32_t)atol(words[10]));
  if (!strcmp(what, "damaged")) run_damaged();
  if (!strcmp(what, "unread") && count == 10) run_unread((uint64_t)atol(words[9]));
  free(old.bytes);
  free(patch.bytes);
  free(new.bytes);
  free(flash_memory.bytes);
  return 0;
}
