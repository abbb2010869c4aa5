// The wire format of protobuf, as far as rewriting a message needs it: its fields, and numbers.

import { DczError } from "../errors.js";

/** Wire types: how a field's value lies in the bytes. */
export const VARINT = 0;
export const LENGTH = 2;
const FIXED64 = 1;
const FIXED32 = 5;

const MOST_VARINT_BYTES = 10;
const MOST_FIELD_NUMBER = 2 ** 29 - 1;

/** A field of a message; places are offsets into the bytes that hold the message. */
export interface Field {
  readonly number: number;
  readonly wire: number;
  /** Where its tag begins. */
  readonly start: number;
  /** Where its tag ends. */
  readonly tagEnd: number;
  /** Where its value begins, behind the length of a value of the type LENGTH. */
  readonly valueStart: number;
  readonly end: number;
  /** The value of a VARINT, rounded above 2^53. */
  readonly value: number;
}

function damaged(at: number, what: string): DczError {
  return new DczError("payload", `the graph of the ONNX model is damaged: at byte ${at} ${what}`);
}

/** A varint at an offset: its value, rounded above 2^53, and its end. Throws DczError where it does not end. */
export function readVarint(bytes: Uint8Array, at: number, limit: number): { value: number; end: number } {
  let value = 0;
  for (let taken = 0; taken < MOST_VARINT_BYTES; taken++) {
    const byte = bytes[at + taken];
    if (byte === undefined || at + taken >= limit) {
      throw damaged(at, "a number is cut off");
    }
    value += (byte & 0x7f) * 2 ** (7 * taken);
    if (byte < 0x80) {
      return { value, end: at + taken + 1 };
    }
  }
  throw damaged(at, `a number takes more than ${MOST_VARINT_BYTES} bytes`);
}

/** The bytes of a number below 2^53 as a varint. */
export function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) {
    bytes.push((rest % 0x80) | 0x80);
  }
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

/** The fields of the message between two offsets. Throws DczError for bytes that are no message, and for groups. */
export function* fields(bytes: Uint8Array, start: number, end: number): Generator<Field> {
  let at = start;
  while (at < end) {
    const tag = readVarint(bytes, at, end);
    const wire = tag.value % 8;
    const number = Math.floor(tag.value / 8);
    if (number < 1 || number > MOST_FIELD_NUMBER) {
      throw damaged(at, `a field has the number ${number}`);
    }
    const field = { number, wire, start: at, tagEnd: tag.end, valueStart: tag.end, end: tag.end, value: 0 };
    if (wire === VARINT) {
      const read = readVarint(bytes, tag.end, end);
      field.value = read.value;
      field.end = read.end;
    } else if (wire === LENGTH) {
      const length = readVarint(bytes, tag.end, end);
      field.valueStart = length.end;
      field.end = length.end + length.value;
    } else if (wire === FIXED64 || wire === FIXED32) {
      field.end = tag.end + (wire === FIXED64 ? 8 : 4);
    } else {
      throw damaged(at, `a field has the wire type ${wire}, which ONNX does not use`);
    }
    if (field.end > end) {
      throw damaged(at, `a field ends at ${field.end}, its message at ${end}`);
    }
    yield field;
    at = field.end;
  }
}
