// What tests of the decoder share: golden files, Python's reading of them, and files made here.

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Decoder } from "../dist/decode/decoder.js";
import { DczError } from "../dist/errors.js";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

export function bytesOf(path) {
  return new Uint8Array(readFileSync(`${ROOT}${path}`));
}

/** The names of the golden files in a folder, without their ending. */
export function golden(folder) {
  return readdirSync(`${ROOT}tests/golden/${folder}`).map((name) => name.replace(".dcz", ""));
}

/** What Python reads from a file: NAME.json of make_data.py, each tensor with its bytes. */
export function expected(name) {
  const found = JSON.parse(readFileSync(`${ROOT}build/browser/data/${name}.json`, "utf8"));
  const data = bytesOf(`build/browser/data/${name}.bin`);
  const tensors = found.tensors.map((tensor) => ({
    ...tensor,
    data: data.subarray(tensor.offset, tensor.offset + tensor.bytes),
  }));
  return { ...found, tensors };
}

/** The index of a whole file, as an opener reads it. */
export function indexOf(decoder, file) {
  const bytes = Decoder.indexBytes(file.subarray(0, 14)) ?? file.length;
  const index = decoder.index(file.subarray(0, bytes));
  if (index.size > file.length) throw new DczError("truncated", "the file ends in its payloads");
  if (index.size < file.length) throw new DczError("index", "bytes are left behind the payloads");
  return index;
}

/** All dense bytes of a tensor. */
export function denseOf(decoder, entry, payload) {
  const slices = [];
  for (const slice of decoder.decode(entry, payload)) slices.push(slice.slice());
  return new Uint8Array(Buffer.concat(slices));
}

export function payloadOf(entry, file) {
  return file.subarray(entry.offset, entry.offset + entry.bytes);
}

/** Every tensor of a file by its name, tied ones too. */
export function readAll(decoder, file) {
  const tensors = new Map();
  for (const entry of indexOf(decoder, file).entries) {
    const data =
      entry.tiedTo === undefined ? denseOf(decoder, entry, payloadOf(entry, file)) : tensors.get(entry.tiedTo);
    tensors.set(entry.name, data);
  }
  return tensors;
}

/** CRC-32, a bit at a time. */
export function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; ++bit) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

function varint(value) {
  const bytes = [];
  for (let left = BigInt(value); ; left >>= 7n) {
    if (left < 128n) return [...bytes, Number(left)];
    bytes.push(Number(left & 127n) | 128);
  }
}

function fixed32(value) {
  return [0, 8, 16, 24].map((shift) => (value >>> shift) & 255);
}

/**
 * A file of tensors of the coder `raw` and the dtype U8: { name, shape, data }; `name` is a text or bytes. Metadata are
 * pairs of texts.
 */
export function fileOf(tensors, metadata = []) {
  const text = (value) => (typeof value === "string" ? [...new TextEncoder().encode(value)] : value);
  const counted = (value) => [...varint(text(value).length), ...text(value)];
  const index = [varint(metadata.length), ...metadata.flat().map(counted), varint(tensors.length)];
  for (const { name, shape, data } of tensors) {
    index.push([0], counted(name), [1, 13], varint(shape.length), ...shape.map(varint));
    index.push(varint(data.length), fixed32(crc32(data)));
  }
  const bytes = index.flat();
  const head = [0x89, 0x44, 0x43, 0x5a, 1, ...varint(bytes.length)].concat(bytes);
  return Uint8Array.from(head.concat(fixed32(crc32(head)), ...tensors.map(({ data }) => [...data])));
}

/** A function that gives whole numbers below its argument, always the same ones for a seed (xorshift). */
export function numbersOf(seed) {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
