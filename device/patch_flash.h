/* Replaces a file in flash memory by the one that a patch makes of it. Power may fail at any time.
 */
#ifndef DCZ_PATCH_FLASH_H
#define DCZ_PATCH_FLASH_H

#include "patch.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Flash memory with a region, at whose begin the file lies, and a log beside it.

   Offsets go to the callbacks, which return DCZ_OK or an error that goes to the caller unchanged.
   `page` is a multiple of DCZ_PATCH_CHUNK; `region` and `log` are multiples of `page`. A chunk, all
   of whose bytes were erased before, is programmed once. A page where power failed may hold
   anything. */
typedef struct {
  void *user;
  dcz_read read;
  dcz_error (*erase)(void *user, uint32_t offset); /* one page; its bytes become 0xff */
  dcz_error (*program)(void *user, uint32_t offset, const uint8_t *from); /* one chunk */
  uint32_t page;
  uint32_t region, region_pages;
  uint32_t log, log_pages;
} dcz_flash;

/* Turns OLD into NEW, and returns DCZ_OK when NEW lies in the region with its checksum. After a
   power failure call it again with the same patch: it goes on. Called once more, it finds NEW and
   returns.

   Before it writes it makes NEW once without writing, so that a wrong patch or file leaves OLD as
   it was: DCZ_ERROR_OLD if the region holds another file. DCZ_ERROR_SIZE: the region has no room
   for NEW, or for OLD behind the place of NEW (`dcz_patch_check` tells how far), or the log has
   fewer than two places of dcz_patch_log_bytes each, in pages of their own. Each page of NEW takes
   one such place, in turn: more pages of log wear out later. At the end the log is erased; erase it
   too when another file is written to the region by other means before an update ends. `work` as
   for dcz_patch_open. The patch must stay readable until this returns DCZ_OK. */
dcz_error dcz_patch_flash(dcz_patch *patch, const dcz_source *bytes, const dcz_flash *flash,
                          void *work, uint32_t size);

/* The bytes of a place in the log, for a patch that was opened. */
uint32_t dcz_patch_log_bytes(const dcz_patch *patch);

#ifdef __cplusplus
}
#endif

#endif
