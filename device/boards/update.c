/* A patch in place: old.dcz becomes new.dcz in a flash memory that lies in RAM here. */
#include <string.h>

#include "board.h"
#include "patch_flash.h"

/* OLD_BYTES, PATCH_BYTES, NEW_BYTES, WORK_BYTES and REGION_PAGES come from the build. */
enum { PAGE = 2048, LOG_PAGES = 4, FLASH_BYTES = (REGION_PAGES + LOG_PAGES) * PAGE };

static uint8_t flash_bytes[FLASH_BYTES], patch_bytes[PATCH_BYTES], new_bytes[NEW_BYTES];
static uint32_t work[WORK_BYTES / 4 + 1];
static uint32_t erased;
static dcz_patch patch;

static dcz_error read_flash(void *user, uint32_t offset, void *to, uint32_t length) {
  (void)user;
  memcpy(to, flash_bytes + offset, length);
  return DCZ_OK;
}

static dcz_error erase_flash(void *user, uint32_t offset) {
  (void)user;
  memset(flash_bytes + offset, 0xff, PAGE);
  ++erased;
  return DCZ_OK;
}

static dcz_error program_flash(void *user, uint32_t offset, const uint8_t *from) {
  (void)user;
  memcpy(flash_bytes + offset, from, DCZ_PATCH_CHUNK);
  return DCZ_OK;
}

static int load(const char *name, void *to, uint32_t size) {
  int file = board_open(name, BOARD_READ);
  return file >= 0 && board_read(file, to, size);
}

int main(void) {
  const dcz_flash flash = {0, read_flash,   erase_flash,         program_flash, PAGE,
                           0, REGION_PAGES, REGION_PAGES * PAGE, LOG_PAGES};
  const dcz_source source = {patch_bytes, 0, 0, PATCH_BYTES};
  int right = load("old.dcz", flash_bytes, OLD_BYTES) &&
              load("patch.dcp", patch_bytes, PATCH_BYTES) && load("new.dcz", new_bytes, NEW_BYTES);
  dcz_error error;
  board_paint();
  board_begin();
  error = dcz_patch_flash(&patch, &source, &flash, work, WORK_BYTES);
  board_end();
  board_print_number("stack", board_painted());
  board_print_number("erased", erased);
  board_print_number("state", sizeof patch);
  board_print_number("log", dcz_patch_log_bytes(&patch));
  board_print_number("error", error);
  board_exit(right && !error && !memcmp(flash_bytes, new_bytes, NEW_BYTES) ? 0 : 1);
}
