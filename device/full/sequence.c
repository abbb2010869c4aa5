/* Sequences: gaps and patterns. docs/format.md, "Sequence". */
#include "sequence.h"

enum { NONE, ALL, GAPS, GAPS_BETWEEN_OTHERS, PATTERNS };

#define PIECE (UINT32_C(1) << 20)

/* Lists the elements that lines of one class have in the group. */
static void list_elements(dcz_walk *w) {
  uint32_t i;
  w->length = 0;
  for (i = 0; i < w->width; ++i) {
    if (dcz_walk_group(w, w->line_class, w->room->cross_class[i]) == w->group)
      w->room->cross[w->length++] = i;
  }
}

/* Goes to the first line from `w->line` on that has elements of the group. There must be one. */
static void find_line(dcz_walk *w) {
  while (w->room != NULL) {
    if (w->length > 0) {
      while (w->line < w->lines && w->room->line_class[w->line] != w->line_class) ++w->line;
      if (w->line < w->lines) break;
    }
    if (++w->line_class >= w->line_classes) {
      w->line = w->length = 0;
      break;
    }
    w->line = 0;
    list_elements(w);
  }
  w->base = w->line * w->line_step;
}

void dcz_walk_begin(dcz_walk *w, uint8_t group) {
  w->group = group;
  w->at = w->line = w->line_class = 0;
  w->length = w->width;
  if (w->room != NULL) list_elements(w);
  find_line(w);
}

/* The next element's place in the tensor. */
static inline uint32_t place_of(dcz_walk *w) {
  while (w->at >= w->length) {
    w->at -= w->length;
    ++w->line;
    find_line(w);
    if (w->length == 0)
      return 0; /* cannot be: a sequence has as many bits as its group has elements */
  }
  return w->base + (w->room != NULL ? w->room->cross[w->at] : w->at) * w->step;
}

static void fill(dcz_walk *w, uint32_t count) {
  uint32_t *const words = w->bitmap->words;
  while (count > 0) {
    uint32_t place = place_of(w), part = 1;
    if (w->room == NULL && w->step == 1) {
      /* up to the end of a word */
      part = 32 - (place & 31);
      if (part > count) part = count;
      if (part > w->length - w->at) part = w->length - w->at;
    }
    words[place >> 5] |= (part == 32 ? ~UINT32_C(0) : (UINT32_C(1) << part) - 1) << (place & 31);
    w->at += part;
    count -= part;
  }
}

/* The gaps of one line of `left` elements, the most common mask by far: turns the bits between
   them. Gives whether the gaps are right. */
static int take_line(dcz_block *block, uint32_t *words, uint32_t left, uint32_t symbols,
                     uint32_t escape) {
  const uint32_t size = left;
  uint32_t symbol = 0;
  while (symbols > 0) {
    const uint8_t *next, *stop;
    if (block->next == block->limit) dcz_block_fill(block);
    next = block->next;
    stop = (uint32_t)(block->limit - next) < symbols ? block->limit : next + symbols;
    symbols -= (uint32_t)(stop - next);
    block->next = stop;
    while (next < stop) {
      symbol = *next++;
      if (symbol >= left && (symbol > left || symbol != escape)) return 0;
      left -= symbol;
      if (symbol == escape) continue;
      dcz_bitmap_turn(words, size - left);
      --left;
    }
  }
  return symbol != escape;
}

static void take_gaps(dcz_input *input, dcz_walk *w, dcz_block *block, uint32_t size,
                      uint32_t *after, int others) {
  uint32_t *const words = w->bitmap->words;
  const uint32_t escape = dcz_input_byte(input);
  const int line = w->room == NULL && w->width == size;
  uint32_t symbols = dcz_input_varint(input);
  uint32_t at = 0, symbol = 0, i;
  if (escape == 0 || symbols > size) dcz_input_refuse(input);
  if (input->error != DCZ_OK) return;
  if (dcz_block_open(block, input->source, dcz_input_at(input), input->end, symbols, escape + 1) !=
      DCZ_OK) {
    input->error = block->error;
    return;
  }
  if (line && others) fill(w, size);
  if (line) {
    if (!take_line(block, words, size, symbols, escape)) {
      dcz_input_refuse(input);
      return;
    }
    symbols = 0;
    at = size;
  }
  for (i = 0; i < symbols; ++i) {
    symbol = dcz_block_next(block);
    if (symbol > size - at || (symbol == size - at && symbol != escape)) {
      dcz_input_refuse(input);
      return;
    }
    at += symbol + (symbol != escape);
    if (others) {
      fill(w, symbol);
    } else {
      w->at += symbol;
    }
    if (symbol == escape) continue;
    if (!others) {
      const uint32_t place = place_of(w);
      words[place >> 5] |= UINT32_C(1) << (place & 31);
    }
    ++w->at;
  }
  if (others) fill(w, size - at);
  if (symbol == escape) dcz_input_refuse(input);
  if (dcz_block_end(block) != DCZ_OK) input->error = block->error;
  *after = block->after;
}

/* The bits of a pattern of `width`, of which `left` are within the sequence. */
static void put_pattern(dcz_walk *w, uint32_t pattern, uint32_t width, uint32_t left) {
  uint32_t *const words = w->bitmap->words;
  if (width > left) width = left;
  if (w->room == NULL && w->step == 1 && w->at < w->length && width <= w->length - w->at) {
    const uint32_t place = w->base + w->at, shift = place & 31;
    words[place >> 5] |= pattern << shift;
    if (shift + width > 32) words[(place >> 5) + 1] |= pattern >> (32 - shift);
    w->at += width;
    return;
  }
  for (; width > 0; --width, pattern >>= 1, ++w->at) {
    /* without a branch on the bit, half of which would be mispredicted */
    const uint32_t place = place_of(w);
    words[place >> 5] |= (pattern & 1) << (place & 31);
  }
}

/* Patterns above 8 bits: "pieces of 2^20 symbols each". */
static void take_pieces(dcz_input *input, dcz_walk *w, dcz_block *block, uint32_t width,
                        uint32_t size, uint16_t *room) {
  uint32_t at = 0;
  block->table.symbols = room;
  block->table.quick = block->quick;
  while (at < size) {
    const uint32_t symbols = (size - at) / width + ((size - at) % width != 0);
    uint32_t length;
    dcz_table_read(&block->table, input, UINT32_C(1) << width, UINT32_C(1) << DCZ_PATTERN_BITS);
    length = dcz_input_varint(input);
    if (input->error != DCZ_OK) return;
    dcz_table_quicken(&block->table);
    dcz_stream_open(&block->stream, input, length, &block->table,
                    symbols < PIECE ? symbols : PIECE);
    if (input->error != DCZ_OK) return;
    while (block->stream.left > 0) {
      const uint32_t pattern = dcz_stream_next(&block->stream), left = size - at;
      if (left < width && pattern >> left != 0) dcz_input_refuse(input);
      put_pattern(w, pattern, width, left);
      at += left < width ? left : width;
    }
    if (dcz_stream_end(&block->stream) != DCZ_OK) input->error = block->stream.input.error;
  }
}

static void take_patterns(dcz_input *input, dcz_walk *w, dcz_block *block, uint32_t size,
                          uint32_t *after, uint16_t *room) {
  const uint32_t width = dcz_input_byte(input);
  uint32_t at;
  if (width < 2 || width > DCZ_PATTERN_BITS) dcz_input_refuse(input);
  if (input->error != DCZ_OK) return;
  if (width > 8) {
    if (room == NULL) {
      dcz_input_refuse(input);
      return;
    }
    take_pieces(input, w, block, width, size, room);
    *after = dcz_input_at(input);
    return;
  }
  dcz_block_open(block, input->source, dcz_input_at(input), input->end,
                 size / width + (size % width != 0), UINT32_C(1) << width);
  for (at = 0; at < size && block->error == DCZ_OK;) {
    const uint32_t pattern = dcz_block_next(block), left = size - at;
    if (left < width && pattern >> left != 0) dcz_input_refuse(input);
    put_pattern(w, pattern, width, left);
    at += left < width ? left : width;
  }
  if (dcz_block_end(block) != DCZ_OK) input->error = block->error;
  *after = block->after;
}

/* A sequence of `size` bits, of the group that `w` begins. */
void dcz_sequence_take(dcz_input *input, dcz_walk *w, const dcz_mask_room *room, uint32_t size) {
  const uint8_t kind = dcz_input_byte(input);
  uint32_t after = dcz_input_at(input);
  if (input->error != DCZ_OK) return;
  if (kind == ALL) {
    fill(w, size);
  } else if (kind == GAPS || kind == GAPS_BETWEEN_OTHERS) {
    take_gaps(input, w, room->block, size, &after, kind == GAPS_BETWEEN_OTHERS);
  } else if (kind == PATTERNS) {
    take_patterns(input, w, room->block, size, &after, room->patterns);
  } else if (kind != NONE) {
    dcz_input_refuse(input);
  }
  if (input->error == DCZ_OK) dcz_input_open(input, input->source, after, input->end);
}

int dcz_sequence_wide(dcz_input *input) {
  return dcz_input_byte(input) == PATTERNS && dcz_input_byte(input) > 8;
}
