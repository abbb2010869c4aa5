/* Huffman codes of a patch and of the tensors that it changes: tables in the work buffer, bits in
 * and out. */
#include "patch_inner.h"

/* An entry is length << 9 | symbol: in ascending order they are in the order of a canonical code.
 */
enum { SYMBOL_BITS = 9, SYMBOL = (1 << SYMBOL_BITS) - 1, LONGEST = 12 };

/* A symbol that says: add this and read on. */
enum { ESCAPE = 255 };

static uint32_t next(dcz_patch *p, dcz_patch_from from, uint32_t *at) {
  return from == DCZ_FROM_OLD ? dcz_patch_old_byte(p, (*at)++) : dcz_patch_byte(p);
}

/* The bits of tokens, the least significant one of a byte first. */
typedef struct {
  dcz_patch *p;
  dcz_patch_from from;
  uint32_t at, byte, count;
} token_bits;

static uint32_t token_bit(token_bits *bits) {
  uint32_t bit;
  if (bits->count == 0) {
    bits->byte = next(bits->p, bits->from, &bits->at);
    bits->count = 8;
  }
  bit = bits->byte & 1;
  bits->byte >>= 1;
  --bits->count;
  return bit;
}

/* "the Elias gamma code of v + 1" */
static uint32_t token(token_bits *bits) {
  uint32_t zeros = 0, value = 1;
  while (token_bit(bits) == 0) {
    if (++zeros > 16) return dcz_patch_fail(bits->p, DCZ_ERROR_PAYLOAD);
  }
  while (zeros-- > 0) value = value << 1 | token_bit(bits);
  return value - 1;
}

/* Adds an entry to the table, at its place in the order. */
static void keep(dcz_patch *p, dcz_patch_table *table, uint32_t entry) {
  uint16_t *entries = p->work + table->start;
  uint32_t i = table->count;
  if (p->at.used >= p->room) {
    dcz_patch_fail(p, DCZ_ERROR_WORK);
    return;
  }
  for (; i > 0 && entries[i - 1] > entry; --i) entries[i] = entries[i - 1];
  entries[i] = (uint16_t)entry;
  ++table->count;
  ++p->at.used;
}

dcz_patch_table dcz_patch_read_table(dcz_patch *p, dcz_patch_from from, uint32_t *at,
                                     uint32_t alphabet) {
  dcz_patch_table table;
  token_bits bits;
  uint32_t symbols, symbol, v, length = 4, space = 0;
  table.start = (uint16_t)p->at.used;
  table.count = 0;
  bits.p = p;
  bits.from = from;
  bits.at = *at;
  bits.count = bits.byte = 0;
  symbols = next(p, from, &bits.at);
  if (symbols >= 0x80) symbols = (symbols & 0x7f) | next(p, from, &bits.at) << 7;
  if (symbols < 1 || symbols > alphabet) dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
  for (symbol = 0; symbol < symbols && !p->error; ++symbol) {
    v = token(&bits);
    if (v == 2) {
      symbol += token(&bits);
      if (symbol >= symbols - 1)
        dcz_patch_fail(p, DCZ_ERROR_PAYLOAD); /* "The last symbol occurs." */
      continue;
    }
    length += v == 1 ? 1 : v % 2 == 0 ? v / 2 : 0 - v / 2;
    if (length - 1 >= LONGEST) {
      dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
      break;
    }
    space += UINT32_C(1) << (LONGEST - length);
    keep(p, &table, length << SYMBOL_BITS | symbol);
  }
  /* "the lengths fill the code space exactly"; a symbol that is alone has a length of 1 */
  if (space != UINT32_C(1) << (table.count == 1 ? LONGEST - 1 : LONGEST))
    dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
  *at = bits.at;
  return table;
}

/* The symbol of a table's first entry. */
uint32_t dcz_patch_lone(const dcz_patch *p, dcz_patch_table table) {
  return p->work[table.start] & SYMBOL;
}

/* No byte is read before it is needed, since the one behind may belong to another part. Codes
   ascend: the first one whose successor lies above the bits is theirs. */
uint32_t dcz_patch_symbol(dcz_patch *p, dcz_patch_from from, dcz_patch_table table) {
  const uint16_t *entry = p->work + table.start, *end = entry + table.count;
  dcz_patch_bits *bits = from == DCZ_FROM_OLD ? &p->at.old_bits : &p->at.patch_bits;
  uint32_t behind = 0, length;
  if (p->error || table.count == 0) return 0;
  if (table.count == 1) return *entry & SYMBOL; /* "it takes no bits" */
  for (; entry < end; ++entry) {
    length = (uint32_t)*entry >> SYMBOL_BITS;
    for (; bits->count < length; bits->count += 8)
      bits->bits |= next(p, from, &bits->at) << (24 - bits->count);
    behind += UINT32_C(1) << (32 - length);
    if (bits->bits < behind || behind == 0) {
      bits->bits <<= length;
      bits->count -= length;
      return *entry & SYMBOL;
    }
  }
  return dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
}

uint32_t dcz_patch_number(dcz_patch *p, dcz_patch_table table) {
  uint32_t value = 0, symbol;
  do {
    symbol = dcz_patch_symbol(p, DCZ_FROM_PATCH, table);
    value += symbol;
    if (value > DCZ_PATCH_ELEMENTS) return dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
  } while (symbol == ESCAPE);
  return value;
}

void dcz_patch_put_symbol(dcz_patch *p, dcz_patch_table table, uint32_t symbol) {
  const uint16_t *entry = p->work + table.start, *end = entry + table.count;
  dcz_patch_bits *bits = &p->at.new_bits;
  uint32_t code = 0, length;
  if (table.count == 1 && (*entry & SYMBOL) == symbol) return;
  for (; entry < end && (*entry & SYMBOL) != symbol; ++entry)
    code += UINT32_C(1) << (32 - (*entry >> SYMBOL_BITS));
  if (entry == end || table.count == 1) {
    dcz_patch_fail(p, DCZ_ERROR_PAYLOAD);
    return;
  }
  length = (uint32_t)*entry >> SYMBOL_BITS;
  bits->bits |= code >> bits->count;
  for (bits->count += length; bits->count >= 8; bits->count -= 8) {
    dcz_patch_put(p, bits->bits >> 24);
    bits->bits <<= 8;
  }
}

/* "the last byte is padded with zero bits" */
void dcz_patch_put_rest(dcz_patch *p) {
  if (p->at.new_bits.count > 0) dcz_patch_put(p, p->at.new_bits.bits >> 24);
  p->at.new_bits.bits = p->at.new_bits.count = 0;
}
