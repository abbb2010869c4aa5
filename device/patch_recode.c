/* The operation `recode`: a tensor of the coder `device` whose survivors or codes changed, group by
 * group. */
#include <string.h>

#include "patch_inner.h"

enum { BY_CODE = 1, RUNS = 2, ONE_BYTE = 4 };

/* the tables of OLD, of NEW and of inserted survivors, each of gaps and of codes */
enum { OLD = 0, NEW = 2, INSERTED = 4, GAPS = 0, CODES = 1 };

/* the kind of a payload with survivors */
enum { GROUPS = 1 };

enum { SYMBOLS = 256 };

/* --- heads ---------------------------------------------------------------------------------- */

/* A head lies in OLD at `at`, or at the patch's cursor. */
static uint32_t head_byte(dcz_patch *p, dcz_patch_from from, uint32_t *at) {
  return from == DCZ_FROM_OLD ? dcz_patch_old_byte(p, (*at)++) : dcz_patch_byte(p);
}

static uint32_t head_varint(dcz_patch *p, dcz_patch_from from, uint32_t *at) {
  uint32_t value = 0, shift = 0, byte;
  do {
    byte = head_byte(p, from, at);
    if (shift == 28 && byte > 15) return dcz_patch_fail(p, DCZ_ERROR_SIZE);
    value |= (byte & 0x7f) << shift;
    shift += 7;
  } while (byte >= 0x80);
  return value;
}

static void read_head(dcz_patch *p, dcz_patch_from from, uint32_t at, uint32_t codebook,
                      uint32_t rows, uint32_t cols, dcz_patch_tensor *tensor,
                      dcz_patch_table *tables) {
  uint32_t kind = head_byte(p, from, &at), group = head_varint(p, from, &at);
  uint32_t symbols = SYMBOLS, groups;
  tensor->alphabet = SYMBOLS;
  tensor->pruned = 0;
  if (!(p->at.options & ONE_BYTE)) {
    tensor->alphabet = tensor->pruned = (uint16_t)(head_byte(p, from, &at) + 1);
    if (tensor->pruned < SYMBOLS) symbols = tensor->pruned + 1u;
    while (codebook-- > 0 && !p->error) head_byte(p, from, &at);
  }
  tensor->escape = (uint8_t)head_byte(p, from, &at);
  if (kind != GROUPS || tensor->escape == 0) dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
  if (cols < 1 || rows > DCZ_PATCH_ELEMENTS / cols) dcz_patch_fail(p, DCZ_ERROR_SIZE);
  if (group < 1 || group > rows) dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
  if (p->error) return;
  tensor->elements = rows * cols;
  tensor->group = group * cols;
  tables[GAPS] = dcz_patch_read_table(p, from, &at, tensor->escape + 1u);
  tables[CODES] = dcz_patch_read_table(p, from, &at, symbols);
  /* where the gap 0 alone occurs */
  tensor->filled = tables[GAPS].count == 1 && dcz_patch_lone(p, tables[GAPS]) == 0;
  for (groups = (rows - 1) / group + 1; groups > 0 && !p->error; --groups) {
    head_varint(p, from, &at);
  }
  if (from == DCZ_FROM_OLD) p->at.old_bits.at = at;
}

void dcz_patch_begin_recode(dcz_patch *p, uint32_t head) {
  dcz_patch_table *tables = p->at.tables;
  uint32_t old_codebook, new_codebook, old_rows, new_rows, cols, contexts, alphabet, behind, at = 0,
                                                                                             i;
  memset(&p->at.from, 0, sizeof p->at.from);
  memset(&p->at.to, 0, sizeof p->at.to);
  memset(&p->at.old_bits, 0, sizeof p->at.old_bits);
  memset(&p->at.new_bits, 0, sizeof p->at.new_bits);
  p->at.have = p->at.have_target = 0;
  p->at.options = (uint8_t)dcz_patch_byte(p);
  if (p->at.options > (BY_CODE | RUNS | ONE_BYTE)) dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
  old_codebook = dcz_patch_varint(p);
  new_codebook = dcz_patch_varint(p);
  old_rows = dcz_patch_varint(p);
  new_rows = dcz_patch_varint(p);
  cols = dcz_patch_varint(p);
  behind = p->at.cursor;
  p->at.cursor = head;
  read_head(p, DCZ_FROM_PATCH, 0, new_codebook, new_rows, cols, &p->at.to, tables + NEW);
  p->at.cursor = behind;
  read_head(p, DCZ_FROM_OLD, p->at.old, old_codebook, old_rows, cols, &p->at.from, tables + OLD);
  dcz_patch_begin_runs(p, p->at.options & RUNS);
  p->at.insertions = dcz_patch_varint(p);
  if (p->at.insertions > 0) {
    tables[INSERTED + GAPS] = dcz_patch_read_table(p, DCZ_FROM_PATCH, &at, SYMBOLS);
    tables[INSERTED + CODES] = dcz_patch_read_table(p, DCZ_FROM_PATCH, &at, p->at.to.alphabet);
  }
  /* the starts of the tables of edits, then the tables */
  contexts = p->at.options & BY_CODE ? p->at.from.alphabet : 1;
  alphabet = p->at.from.alphabet > p->at.to.alphabet ? p->at.from.alphabet : p->at.to.alphabet;
  p->at.edits = (uint16_t)p->at.used;
  if (contexts + 1 > p->room - p->at.used) dcz_patch_fail(p, DCZ_ERROR_WORK);
  if (p->error) return;
  p->at.used += contexts + 1;
  for (i = 0; i < contexts; ++i) {
    p->work[p->at.edits + i] = dcz_patch_read_table(p, DCZ_FROM_PATCH, &at, alphabet + 1).start;
  }
  p->work[p->at.edits + contexts] = (uint16_t)p->at.used;
  dcz_patch_next_run(p);
  if (p->at.insertions > 0) p->at.inserted = dcz_patch_number(p, tables[INSERTED + GAPS]);
}

/* Elements of the group at hand. */
static uint32_t group_size(const dcz_patch_tensor *tensor) {
  uint32_t left = tensor->elements - tensor->base;
  return left < tensor->group ? left : tensor->group;
}

/* --- the survivors of OLD ------------------------------------------------------------------- */

/* The next survivor of OLD, if one is left: its position and its code. */
static void next_survivor(dcz_patch *p) {
  dcz_patch_tensor *from = &p->at.from;
  const dcz_patch_table *tables = p->at.tables + OLD;
  uint32_t size, symbol;
  while (from->base < from->elements && !p->error) {
    size = group_size(from);
    symbol = dcz_patch_symbol(p, DCZ_FROM_OLD, tables[GAPS]);
    from->at += symbol;
    if (from->at > size) {
      dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
    } else if (symbol == from->escape) {
      /* the gap goes on */
    } else if (from->at == size) {
      from->base += size;
      from->at = 0;
      p->at.old_bits.bits = p->at.old_bits.count = 0; /* each group begins with a byte */
    } else {
      symbol = dcz_patch_symbol(p, DCZ_FROM_OLD, tables[CODES]);
      p->at.position = from->base + from->at++;
      p->at.code = (uint16_t)symbol;
      p->at.have = symbol != from->pruned;
      if (p->at.have) return;
    }
  }
}

/* --- the survivors of NEW ------------------------------------------------------------------- */

static void target(dcz_patch *p, uint32_t position, uint32_t code) {
  p->at.target = position;
  p->at.target_code = (uint16_t)code;
  p->at.have_target = 1;
}

static void next_insertion(dcz_patch *p) {
  target(p, p->at.inserted, dcz_patch_symbol(p, DCZ_FROM_PATCH, p->at.tables[INSERTED + CODES]));
  if (--p->at.insertions > 0)
    p->at.inserted += dcz_patch_number(p, p->at.tables[INSERTED + GAPS]) + 1;
}

/* The edit of OLD's survivor: it goes, stays, or gets another code. */
static void edit(dcz_patch *p) {
  uint32_t from = p->at.from.alphabet, to = p->at.to.alphabet, alphabet = from > to ? from : to;
  uint32_t code = p->at.code, context = p->at.edits + (p->at.options & BY_CODE ? code : 0),
           step = 0;
  dcz_patch_table table;
  p->at.have = 0;
  if (p->at.run > 0) {
    --p->at.run;
  } else if (p->at.changes > 0) {
    table.start = p->work[context];
    table.count = (uint16_t)(p->work[context + 1] - table.start);
    step = dcz_patch_symbol(p, DCZ_FROM_PATCH, table);
    --p->at.changes;
    dcz_patch_next_run(p);
  }
  if (step == alphabet) return; /* it is pruned */
  code += step % 2 == 0 ? step / 2 : alphabet - (step + 1) / 2;
  target(p, p->at.position, code < alphabet ? code : code - alphabet);
}

/* A symbol of NEW or two, on the way to the survivor at hand, or to the end of its group. */
static void put(dcz_patch *p) {
  dcz_patch_tensor *to = &p->at.to;
  const dcz_patch_table *tables = p->at.tables + NEW;
  uint32_t size = group_size(to), end = p->at.target - to->base;
  uint32_t gap = (end < size ? end : size) - to->at;
  if (to->filled && gap > 0) {
    dcz_patch_put_symbol(p, tables[CODES], to->pruned);
    ++to->at;
  } else if (gap >= to->escape) {
    dcz_patch_put_symbol(p, tables[GAPS], to->escape);
    to->at += to->escape;
  } else {
    dcz_patch_put_symbol(p, tables[GAPS], gap);
    to->at += gap;
    if (to->at < size) {
      dcz_patch_put_symbol(p, tables[CODES], p->at.target_code);
      ++to->at;
      p->at.have_target = 0;
    } else {
      dcz_patch_put_rest(p);
      to->base += size;
      to->at = 0;
      if (to->base == to->elements) p->at.have_target = 0;
    }
  }
}

/* One symbol of NEW, or what comes next of OLD and of the edits, to their ends. */
void dcz_patch_recode(dcz_patch *p) {
  dcz_patch_tensor *to = &p->at.to;
  if (p->at.have_target) {
    put(p);
    return;
  }
  if (!p->at.have) next_survivor(p);
  if (p->at.insertions > 0 && (!p->at.have || p->at.inserted < p->at.position)) {
    next_insertion(p);
  } else if (p->at.have) {
    edit(p);
  } else if (to->base < to->elements) {
    target(p, to->elements, 0);
    return;
  } else {
    p->at.left = 0;
  }
  /* survivors ascend, and lie within NEW */
  if (p->at.have_target && (p->at.target < to->base + to->at || p->at.target >= to->elements)) {
    dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
  }
}
