/* Bytes and bits from front to back: all that is not worth a place in a loop. */
#include "input.h"

#include <string.h>

void dcz_input_open(dcz_input *input, const dcz_source *source, uint32_t at, uint32_t end) {
  input->source = source;
  input->at = at;
  input->end = end;
  input->next = input->limit = input->buffer;
  input->error = DCZ_OK;
}

int dcz_input_fill(dcz_input *input) {
  const dcz_source *const source = input->source;
  uint32_t count = input->end - input->at;
  if (input->error != DCZ_OK) return 0;
  if (input->next < input->limit) return 1;
  if (count == 0) {
    input->error = DCZ_ERROR_PAYLOAD;
    return 0;
  }
  if (source->memory != NULL) {
    input->next = source->memory + input->at;
  } else {
    if (count > DCZ_BUFFER) count = DCZ_BUFFER;
    input->next = input->limit = input->buffer;
    input->error = source->read(source->user, input->at, input->buffer, count);
    if (input->error != DCZ_OK) return 0;
  }
  input->limit = input->next + count;
  input->at += count;
  return 1;
}

void dcz_input_skip(dcz_input *input, uint32_t count) {
  const uint32_t loaded = (uint32_t)(input->limit - input->next);
  if (count > dcz_input_left(input)) {
    dcz_input_refuse(input);
  } else if (count <= loaded) {
    input->next += count;
  } else {
    input->at += count - loaded;
    input->next = input->limit;
  }
}

void dcz_input_take(dcz_input *input, uint8_t *to, uint32_t count) {
  while (count > 0 && dcz_input_fill(input)) {
    const uint32_t loaded = (uint32_t)(input->limit - input->next);
    const uint32_t part = count < loaded ? count : loaded;
    memcpy(to, input->next, part);
    input->next += part;
    to += part;
    count -= part;
  }
}

uint64_t dcz_input_long_varint(dcz_input *input) {
  uint64_t value = 0;
  unsigned shift = 0;
  for (; shift < 63; shift += 7) {
    const uint8_t byte = dcz_input_byte(input);
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      if (byte == 0 && shift > 0) dcz_input_refuse(input);
      return value;
    }
  }
  dcz_input_refuse(input);
  return 0;
}

uint32_t dcz_input_varint(dcz_input *input) {
  const uint64_t value = dcz_input_long_varint(input);
  if (value > UINT32_MAX) dcz_input_refuse(input);
  return input->error == DCZ_OK ? (uint32_t)value : 0;
}

void dcz_bits_open(dcz_bits *bits, dcz_input *input) {
  bits->input = input;
  bits->held = bits->count = bits->past = 0;
}

void dcz_bits_slowly(dcz_bits *bits) {
  dcz_input *const input = bits->input;
  if (input->next == input->limit && input->at == input->end) {
    bits->past += 8;
  } else {
    bits->held |= (uint32_t)dcz_input_byte(input) << bits->count;
  }
  bits->count += 8;
}

uint64_t dcz_bits_long(dcz_bits *bits, uint32_t count) {
  uint64_t found = 0;
  uint32_t done = 0;
  while (done < count) {
    const uint32_t part = count - done < 16 ? count - done : 16;
    found |= (uint64_t)dcz_bits_take(bits, part) << done;
    done += part;
  }
  return found;
}

uint32_t dcz_bits_token(dcz_bits *bits) {
  uint32_t zeros = 0, value = 1;
  while (dcz_bits_take(bits, 1) == 0) {
    /* no number in a file exceeds 65,536 */
    if (++zeros > 16) {
      dcz_input_refuse(bits->input);
      return 0;
    }
  }
  while (zeros-- > 0) value = value << 1 | dcz_bits_take(bits, 1);
  return value - 1;
}

void dcz_bits_end(dcz_bits *bits) {
  dcz_input *const input = bits->input;
  if (input->error != DCZ_OK) return;
  if (bits->past > bits->count) {
    dcz_input_refuse(input);
    return;
  }
  if (dcz_bits_take(bits, (bits->count - bits->past) & 7) != 0) {
    dcz_input_refuse(input);
    return;
  }
  /* whole bytes that were loaded ahead go back */
  dcz_input_open(input, input->source, dcz_input_at(input) - ((bits->count - bits->past) >> 3),
                 input->end);
  bits->held = bits->count = bits->past = 0;
}
