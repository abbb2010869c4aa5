/* A patch in place: OLD moves to the end of its region, then NEW grows from the front, page by
 * page. */
#include "patch_flash.h"

#include <string.h>

#include "patch_inner.h"

/* What was done. MOVING: OLD's pages from `page` on lie at the end. WRITING: NEW's pages before the
   state's are written. */
enum { MOVING = 1, WRITING };

typedef struct {
  uint32_t sequence; /* 0: there is no record */
  uint32_t patch;    /* its checksum */
  uint32_t shift;    /* bytes by which OLD moves */
  uint32_t bytes;    /* of the state and the tables behind */
  uint32_t stage, page;
} record_head;

typedef struct {
  dcz_patch *p;
  const dcz_flash *flash;
  uint32_t old_pages, shift;
  uint32_t place_pages;   /* of a place in the log */
  uint32_t places, place; /* their number, and that of the next record's */
  record_head newest;
} update;

/* --- reads and writes ----------------------------------------------------------------------- */

static dcz_error read_old(void *user, uint32_t offset, void *to, uint32_t length) {
  const update *u = user;
  return u->flash->read(u->flash->user, u->flash->region + u->shift + offset, to, length);
}

static dcz_error write_new(void *user, uint32_t offset, const uint8_t *from, uint32_t length) {
  const update *u = user;
  uint8_t chunk[DCZ_PATCH_CHUNK];
  memset(chunk, 0xff, sizeof chunk);
  memcpy(chunk, from, length);
  return u->flash->program(u->flash->user, u->flash->region + offset, chunk);
}

static dcz_error checksum_of_region(const update *u, uint32_t length, uint32_t *found) {
  uint8_t chunk[DCZ_PATCH_CHUNK];
  uint32_t at = 0, part;
  dcz_error error = DCZ_OK;
  for (*found = 0; at < length && !error; at += part) {
    part = length - at < sizeof chunk ? length - at : (uint32_t)sizeof chunk;
    error = u->flash->read(u->flash->user, u->flash->region + at, chunk, part);
    *found = dcz_crc(*found, chunk, part);
  }
  return error;
}

/* --- the log -------------------------------------------------------------------------------- */

static uint32_t bytes_of_state(const dcz_patch *p) { return (uint32_t)sizeof p->at + 2 * p->room; }

uint32_t dcz_patch_log_bytes(const dcz_patch *p) {
  uint32_t bytes = (uint32_t)sizeof(record_head) + bytes_of_state(p) + 4;
  return (bytes + DCZ_PATCH_CHUNK - 1) / DCZ_PATCH_CHUNK * DCZ_PATCH_CHUNK;
}

static uint32_t place_offset(const update *u, uint32_t place) {
  return u->flash->log + place * u->place_pages * u->flash->page;
}

/* Bytes of a record, gathered to chunks. */
typedef struct {
  const update *u;
  uint32_t offset, held, checksum;
  uint8_t chunk[DCZ_PATCH_CHUNK];
  dcz_error error;
} log_writer;

static void append(log_writer *to, const void *from, uint32_t length) {
  const uint8_t *bytes = from;
  to->checksum = dcz_crc(to->checksum, bytes, length);
  for (; length > 0 && !to->error; --length) {
    to->chunk[to->held++] = *bytes++;
    if (to->held < DCZ_PATCH_CHUNK) continue;
    to->error = to->u->flash->program(to->u->flash->user, to->offset, to->chunk);
    to->offset += DCZ_PATCH_CHUNK;
    to->held = 0;
    memset(to->chunk, 0xff, sizeof to->chunk);
  }
}

static dcz_error write_record(update *u, uint32_t stage, uint32_t page) {
  const dcz_flash *flash = u->flash;
  log_writer to;
  uint8_t checksum[4];
  uint32_t i;
  memset(&to, 0, sizeof to);
  memset(to.chunk, 0xff, sizeof to.chunk);
  to.u = u;
  to.offset = place_offset(u, u->place);
  for (i = 0; i < u->place_pages && !to.error; ++i) {
    to.error = flash->erase(flash->user, to.offset + i * flash->page);
  }
  ++u->newest.sequence;
  u->newest.patch = u->p->checksum;
  u->newest.shift = u->shift;
  u->newest.bytes = stage == WRITING ? bytes_of_state(u->p) : 0;
  u->newest.stage = stage;
  u->newest.page = page;
  append(&to, &u->newest, sizeof u->newest);
  if (stage == WRITING) {
    append(&to, &u->p->at, sizeof u->p->at);
    append(&to, u->p->work, bytes_of_state(u->p) - (uint32_t)sizeof u->p->at);
  }
  for (i = 0; i < 4; ++i) checksum[i] = (uint8_t)(to.checksum >> (8 * i));
  append(&to, checksum, sizeof checksum);
  while (to.held > 0 && !to.error) append(&to, "\xff", 1);
  u->place = (u->place + 1) % u->places;
  return to.error;
}

/* Whether a place holds a whole record of this patch; its head. */
static dcz_error read_head(const update *u, uint32_t place, record_head *head, int *found) {
  const dcz_flash *flash = u->flash;
  uint32_t offset = place_offset(u, place), at = sizeof *head, part, checksum, end;
  uint8_t chunk[DCZ_PATCH_CHUNK];
  dcz_error error = flash->read(flash->user, offset, head, sizeof *head);
  *found = 0;
  if (error || head->patch != u->p->checksum || head->shift != u->shift) return error;
  if (head->bytes != (head->stage == WRITING ? bytes_of_state(u->p) : 0)) return DCZ_OK;
  checksum = dcz_crc(0, (const uint8_t *)head, sizeof *head);
  for (end = at + head->bytes; at < end && !error; at += part) {
    part = end - at < sizeof chunk ? end - at : (uint32_t)sizeof chunk;
    error = flash->read(flash->user, offset + at, chunk, part);
    checksum = dcz_crc(checksum, chunk, part);
  }
  if (!error) error = flash->read(flash->user, offset + end, chunk, 4);
  for (part = 0; part < 4; ++part) checksum ^= (uint32_t)chunk[part] << (8 * part);
  *found = !error && checksum == 0;
  return error;
}

/* Finds the newest record, and restores its state. The next one goes to the place behind it. */
static dcz_error find_newest(update *u) {
  dcz_patch *p = u->p;
  record_head head;
  uint32_t place, newest = 0;
  int found;
  dcz_error error = DCZ_OK;
  for (place = 0; place < u->places && !error; ++place) {
    error = read_head(u, place, &head, &found);
    if (error || !found || head.sequence <= u->newest.sequence) continue;
    u->newest = head;
    newest = place;
    u->place = (place + 1) % u->places;
  }
  if (error || u->newest.stage != WRITING) return error;
  place = place_offset(u, newest) + (uint32_t)sizeof head;
  error = u->flash->read(u->flash->user, place, &p->at, sizeof p->at);
  if (error) return error;
  place += (uint32_t)sizeof p->at;
  return u->flash->read(u->flash->user, place, p->work, bytes_of_state(p) - (uint32_t)sizeof p->at);
}

/* Erases every record, also those of other patches: none may go on where its file is no more. */
static dcz_error forget(const update *u) {
  const dcz_flash *flash = u->flash;
  record_head head;
  uint32_t place;
  dcz_error error = DCZ_OK;
  for (place = 0; place < u->places && !error; ++place) {
    error = flash->read(flash->user, place_offset(u, place), &head, sizeof head);
    if (error || head.sequence == UINT32_MAX) continue; /* it is erased */
    error = flash->erase(flash->user, place_offset(u, place));
  }
  return error;
}

/* --- the update ----------------------------------------------------------------------------- */

static dcz_error move_page(const update *u, uint32_t page) {
  const dcz_flash *flash = u->flash;
  uint32_t from = flash->region + page * flash->page, at;
  uint8_t chunk[DCZ_PATCH_CHUNK];
  dcz_error error = flash->erase(flash->user, from + u->shift);
  for (at = from; at < from + flash->page && !error; at += DCZ_PATCH_CHUNK) {
    error = flash->read(flash->user, at, chunk, sizeof chunk);
    if (!error) error = flash->program(flash->user, at + u->shift, chunk);
  }
  return error;
}

/* From the last page on, so that no page is overwritten before it was moved. As many pages as the
   shift has can be moved again from where they were, so that they need one record. */
static dcz_error move_old(update *u) {
  uint32_t page = u->newest.page, moved = 0;
  dcz_error error = DCZ_OK;
  while (page > 0 && u->shift > 0 && !error) {
    error = move_page(u, --page);
    if (!error && ++moved % (u->shift / u->flash->page) == 0) {
      error = write_record(u, MOVING, page);
    }
  }
  return error;
}

/* The state at the start of a page is on record before the page is erased. OLD's bytes that make
   the page lie behind it, so that it can be made again. */
static dcz_error write_pages(update *u) {
  dcz_patch *p = u->p;
  uint32_t end;
  while (!dcz_patch_done(p)) {
    dcz_error error = write_record(u, WRITING, 0);
    if (!error) error = u->flash->erase(u->flash->user, u->flash->region + p->at.written);
    if (error) return error;
    end = p->at.written + u->flash->page;
    while (!dcz_patch_done(p) && (p->at.written < end || p->at.written == p->new_size)) {
      dcz_patch_step(p, write_new, u);
    }
  }
  return dcz_patch_finish(p);
}

static dcz_error set_places(update *u) {
  const dcz_flash *flash = u->flash;
  uint32_t page = flash->page;
  if (page == 0 || page % DCZ_PATCH_CHUNK || flash->region_pages > UINT32_MAX / page) {
    return DCZ_ERROR_SIZE;
  }
  u->place_pages = (dcz_patch_log_bytes(u->p) - 1) / page + 1;
  u->places = flash->log_pages / u->place_pages;
  u->old_pages = u->p->old_size / page + (u->p->old_size % page != 0);
  if (u->places < 2 || u->old_pages > flash->region_pages ||
      u->p->new_size > flash->region_pages * page) {
    return DCZ_ERROR_SIZE;
  }
  u->shift = (flash->region_pages - u->old_pages) * page;
  return DCZ_OK;
}

dcz_error dcz_patch_flash(dcz_patch *p, const dcz_source *bytes, const dcz_flash *flash, void *work,
                          uint32_t size) {
  dcz_source old;
  update u;
  uint32_t found, shift;
  dcz_error error;
  memset(&u, 0, sizeof u);
  memset(&old, 0, sizeof old);
  u.p = p;
  u.flash = flash;
  old.read = read_old;
  old.user = &u;
  error = dcz_patch_open(p, bytes, &old, work, size);
  p->old.size = p->old_size;
  if (!error) error = set_places(&u);
  if (!error) error = checksum_of_region(&u, p->new_size, &found);
  if (error) return error;
  if (found == p->new_checksum) return forget(&u);
  shift = u.shift;
  u.shift = 0; /* OLD may lie where it was, whatever the log says */
  error = dcz_patch_check(p, flash->page);
  u.shift = shift;
  if (!error) {
    if (p->shift > u.shift) return DCZ_ERROR_SIZE;
    error = find_newest(&u);
    if (!error) error = write_record(&u, MOVING, u.old_pages);
  } else if (error == DCZ_ERROR_OLD) {
    error = find_newest(&u);
    if (!error && u.newest.sequence == 0) return DCZ_ERROR_OLD;
  }
  if (error) return error;
  memset(&p->old_window, 0, sizeof p->old_window);
  memset(&p->patch_window, 0, sizeof p->patch_window);
  if (u.newest.stage == MOVING) {
    error = move_old(&u);
    dcz_patch_begin(p);
  }
  if (!error) error = write_pages(&u);
  if (!error) error = checksum_of_region(&u, p->new_size, &found);
  if (!error && found != p->new_checksum) error = DCZ_ERROR_CHECKSUM;
  return error ? error : forget(&u);
}
