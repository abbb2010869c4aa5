// The index of a file: all that docs/format.md says of the bytes before the payloads. Comments in quotes are that page.

import { DczError } from "../errors.js";
import { CODERS, type Coder, DTYPES, type Dtype, type Entry } from "../types.js";
import { Cursor } from "./cursor.js";

/** An entry, and where its payload lies in the file; a tied one has the place of the tensor that it is tied to. */
export interface Located extends Entry {
  readonly offset: number;
  /** CRC-32 of the payload. */
  readonly checksum: number;
}

/** All that a file says before its payloads. */
export interface Index {
  /** Bytes of the whole file. */
  readonly size: number;
  readonly metadata: ReadonlyMap<string, string>;
  /** In the order of the payloads. Names are unique. */
  readonly entries: readonly Located[];
}

/** A tensor as coders see it: rows of elements of 1, 2, 4 or 8 bytes. */
export interface Rows {
  readonly shape: readonly number[];
  readonly rows: number;
  readonly cols: number;
  /** Bytes of an element. */
  readonly size: number;
}

const MAGIC = [0x89, 0x44, 0x43, 0x5a];
/** The first byte of a web page, which some servers send for a wrong address. */
const PAGE = 0x3c;
const MOST_INDEX_BYTES = 1e8;
const MOST_ENTRIES = 2 ** 20;
const MOST_AXES = 32;
const CHECKSUM_BYTES = 4;
const MOST_DECODED_BYTES = 2 ** 36;

/** Bits of an element of each dtype, in their order. */
const ITEM_BITS = [64, 32, 16, 16, 8, 8, 64, 32, 16, 8, 64, 32, 16, 8, 8, 64, 128, 32, 8, 8, 8, 6, 6, 4, 4, 4, 2, 2];

function itemBits(dtype: Dtype): number {
  return ITEM_BITS[DTYPES.indexOf(dtype)] ?? 0;
}

/** "A tensor whose elements take less than a byte, or more than 8, is coded as one row." So is one without elements. */
export function rowsOf(entry: Entry): Rows {
  const bits = itemBits(entry.dtype);
  const whole = bits >= 8 && bits <= 64;
  const size = whole ? bits / 8 : bits < 8 ? 1 : 8;
  const elements = entry.denseBytes / size;
  const shape = whole && elements > 0 ? entry.shape : [elements];
  const rows = shape.length > 1 ? (shape[0] ?? 1) : 1;
  return { shape, rows, cols: elements / rows, size };
}

/**
 * How many bytes from the start of a file hold everything up to the checksum of the index; undefined if more bytes are
 * needed to tell, never more than 14. Throws a DczError: "magic", "version", or "index" for a length that cannot be.
 */
export function indexBytes(head: Uint8Array): number | undefined {
  for (const [i, byte] of MAGIC.entries()) {
    const found = head[i];
    if (found === undefined) return undefined;
    if (found !== byte) {
      const made = "dcz compress makes .dcz files of models";
      const remedy = head[0] === PAGE ? "It looks like a web page: check the address" : `Check the address; ${made}`;
      throw new DczError("magic", `this is no .dcz file: its byte ${i} is ${found}, not ${byte}. ${remedy}.`);
    }
  }
  const version = head[4];
  if (version === undefined) return undefined;
  if (version !== 1) {
    throw new DczError("version", `the file has version ${version}, and this package reads 1. Update the package.`);
  }
  const number = head.subarray(5, 14);
  if (number.length < 9 && number.every((byte) => byte >= 0x80)) return undefined;
  const cursor = new Cursor(head, 5, head.length);
  const length = cursor.number();
  if (length > MOST_INDEX_BYTES) throw cursor.refused(`the index claims ${length} bytes, more than 10^8`);
  return cursor.at + length + CHECKSUM_BYTES;
}

/**
 * Reads an index, and checks everything in it. `head` has the bytes that `indexBytes` counts; `crc` gives the CRC-32
 * of bytes. Throws a DczError: "magic", "version", "truncated", "checksum", "index", or "size" for a shape
 * beyond 2^53 bits, and for more than 64 GiB of tensors.
 */
export function readIndex(head: Uint8Array, crc: (bytes: Uint8Array) => number): Index {
  const bytes = indexBytes(head);
  if (bytes === undefined || head.length < bytes) {
    const needed = bytes ?? "at least 10";
    throw new DczError("truncated", `the file ends in its index: ${needed} bytes are needed. Load it again.`);
  }
  const end = bytes - CHECKSUM_BYTES;
  if (crc(head.subarray(0, end)) !== new Cursor(head, end, bytes).fixed32()) {
    throw new DczError("checksum", "the index of the file is damaged, its checksum differs. Load the file again.");
  }
  const cursor = new Cursor(head, 5, end);
  cursor.number(); // the length of the index
  const metadata = readMetadata(cursor);
  const entries = readEntries(cursor, bytes);
  if (cursor.left > 0) throw cursor.refused(`${cursor.left} bytes are left behind the last tensor`);
  const decoded = entries.reduce((sum, entry) => sum + (entry.tiedTo === undefined ? entry.denseBytes : 0), 0);
  if (decoded > MOST_DECODED_BYTES) {
    throw new DczError(
      "size",
      `the file claims tensors of ${decoded} bytes, more than 64 GiB. Use the Python package.`,
    );
  }
  const size = entries.reduce((sum, entry) => sum + entry.bytes, bytes);
  return { size, metadata, entries };
}

function readCount(cursor: Cursor, what: string): number {
  const count = cursor.number();
  if (count > MOST_ENTRIES) throw cursor.refused(`${count} ${what}, more than 2^20`);
  return count;
}

/** "Keys in strictly ascending order of their bytes." */
function readMetadata(cursor: Cursor): Map<string, string> {
  const metadata = new Map<string, string>();
  let previous: Uint8Array | undefined;
  for (let count = readCount(cursor, "metadata entries"); count > 0; --count) {
    const key = cursor.take(cursor.length());
    if (previous !== undefined && !isAbove(key, previous)) throw cursor.refused("keys of metadata do not ascend");
    previous = key;
    const name = cursor.text(key, "a key of metadata");
    metadata.set(name, cursor.text(cursor.take(cursor.length()), `the metadata ${JSON.stringify(name)}`));
  }
  return metadata;
}

function isAbove(bytes: Uint8Array, other: Uint8Array): boolean {
  const place = bytes.findIndex((byte, i) => byte !== other[i]);
  if (place < 0) return false; // the same, or the start of the other
  const byte = other[place];
  return byte === undefined || (bytes[place] ?? 0) > byte;
}

/** The tensors. Their payloads follow each other, from the byte `payload` of the file on. */
function readEntries(cursor: Cursor, payload: number): Located[] {
  const names = new Names(cursor);
  const entries: Located[] = [];
  let offset = payload;
  for (let count = readCount(cursor, "tensors"); count > 0; --count) {
    const name = names.next();
    const coder = CODERS[cursor.byte()];
    const entry = coder === "alias" ? readTie(cursor, name, entries) : readEntry(cursor, name, coder, offset);
    entries.push(entry);
    offset += entry.bytes;
  }
  return entries;
}

/** "Names are unique and valid UTF-8. Written in full, they take at most 10^8 bytes together." */
class Names {
  private readonly known = new Set<string>();
  private name = new Uint8Array(256);
  private length = 0;
  private total = 0;

  constructor(private readonly cursor: Cursor) {}

  /** A name has its first bytes from the one before. */
  next(): string {
    const { cursor } = this;
    const shared = cursor.number();
    if (shared > this.length) throw cursor.refused(`a name shares ${shared} bytes with one of ${this.length}`);
    const rest = cursor.take(cursor.length());
    this.length = shared + rest.length;
    this.total += this.length;
    if (this.total > MOST_INDEX_BYTES) throw cursor.refused("names take more than 10^8 bytes");
    if (this.length > this.name.length) {
      const longer = new Uint8Array(2 * this.length);
      longer.set(this.name.subarray(0, shared));
      this.name = longer;
    }
    this.name.set(rest, shared);
    const name = cursor.text(this.name.subarray(0, this.length), "the name of a tensor");
    if (this.known.has(name)) throw cursor.refused(`the name ${JSON.stringify(name)} comes twice`);
    this.known.add(name);
    return name;
  }
}

/** "An earlier tensor which is not an alias." */
function readTie(cursor: Cursor, name: string, entries: readonly Located[]): Located {
  const target = entries[cursor.number()];
  if (target === undefined || target.tiedTo !== undefined) {
    throw cursor.refused(`${JSON.stringify(name)} is tied to no earlier tensor, or to one that is tied itself`);
  }
  return { ...target, name, bytes: 0, tiedTo: target.name };
}

function readEntry(cursor: Cursor, name: string, coder: Coder | undefined, offset: number): Located {
  const dtype = DTYPES[cursor.byte()];
  if (coder === undefined || dtype === undefined) {
    const what = `a ${coder === undefined ? "coder" : "dtype"} that this package does not know`;
    throw new DczError("version", `${JSON.stringify(name)} has ${what}. Update the package, or load the file again.`);
  }
  const shape = readShape(cursor, dtype, name);
  const bits = shape.reduce((product, axis) => product * axis, itemBits(dtype));
  const bytes = cursor.number();
  return { name, dtype, shape, coder, bytes, denseBytes: Math.ceil(bits / 8), offset, checksum: cursor.fixed32() };
}

/** Refused is "a shape whose bytes, axes of length 0 counted as 1, do not fit 2^63"; numbers here end at 2^53. */
function readShape(cursor: Cursor, dtype: Dtype, name: string): number[] {
  const axes = cursor.number();
  if (axes > MOST_AXES) throw cursor.refused(`${JSON.stringify(name)} has ${axes} axes, more than 32`);
  const shape = Array.from({ length: axes }, () => cursor.number());
  const bits = shape.reduce((product, axis) => product * Math.max(axis, 1), itemBits(dtype));
  if (bits >= 2 ** 66) throw cursor.refused(`the bytes of ${JSON.stringify(name)} do not fit 2^63`);
  if (bits > 2 ** 53) {
    throw new DczError("size", `${JSON.stringify(name)} has a shape beyond 2^53 bits. Use the Python package.`);
  }
  return shape;
}
