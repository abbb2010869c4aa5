// The tensors of a file -> a safetensors file, with the bytes that `dcz decompress` writes.

import { DczError } from "../errors.js";
import type { TensorOptions } from "../file/file.js";
import type { Dtype, Entry } from "../types.js";
import { Composed, type TensorFile } from "./composed.js";
import { FOLDER_KEY, tensorsOf } from "./folder.js";
import { holdsGraph } from "./onnx.js";

const METADATA = "__metadata__";
const LENGTH_BYTES = 8;

// complex numbers that safetensors does not have -> their real and imaginary parts, along one more axis
const PAIRS: Partial<Record<Dtype, Dtype>> = { C128: "F64", C32: "F16" };

// of metadata: the names of tensors written as pairs, and their dtypes, in JSON
const PAIRED = "deepcompression.complex";

// of the memory that boards need: it says nothing of dense tensors
const WORK_KEY = "device.work";

const MISSING: readonly Dtype[] = ["I4", "U4", "I2", "U2"];

// Bytes of an element in memory, where it is more than one.
const WIDTHS: Partial<Record<Dtype, number>> = {
  ...{ F64: 8, I64: 8, U64: 8, C64: 8 },
  ...{ F32: 4, I32: 4, U32: 4 },
  ...{ F16: 2, BF16: 2, I16: 2, U16: 2 },
};

/** `DczFile.toSafetensors`. */
export async function toSafetensors(file: TensorFile, options: TensorOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
  return composedSafetensors(file).toBytes(options.signal);
}

/** The same safetensors file, of which nothing has been decoded. */
export function composedSafetensors(file: TensorFile): Composed {
  if (holdsGraph(file)) {
    throw new DczError("unsupported", "this file holds an ONNX model: take it with toOnnx()");
  }
  const entries = tensorsOf(file);
  for (const { name, dtype } of entries) {
    if (MISSING.includes(dtype) || name === METADATA) {
      const why = name === METADATA ? "has the name of its metadata" : `is of ${dtype}`;
      throw new DczError("unsupported", `${name} ${why}, which safetensors does not have: read it with tensor()`);
    }
  }
  // widest elements first: all are aligned
  const width = ({ dtype }: Entry): number => WIDTHS[PAIRS[dtype] ?? dtype] ?? 1;
  const ordered = [...entries].sort((one, other) => width(other) - width(one));
  return new Composed(file, [headOf(ordered, metadataOf(file, entries)), ...ordered]);
}

/** The metadata of the safetensors file, in the order of their keys. */
function metadataOf(file: TensorFile, entries: readonly Entry[]): [string, string][] {
  const metadata = new Map(file.metadata);
  metadata.delete(FOLDER_KEY);
  metadata.delete(WORK_KEY);
  const pairs = entries.filter((each) => PAIRS[each.dtype] !== undefined).sort(byName((each) => each.name));
  if (pairs.length > 0) {
    const texts = pairs.map((each) => `${JSON.stringify(each.name)}: ${JSON.stringify(each.dtype)}`);
    metadata.set(PAIRED, `{${texts.join(", ")}}`);
  }
  return [...metadata].sort(byName(([key]) => key));
}

/** The bytes before the data of the tensors. Their names may look like numbers: no object keeps their order. */
function headOf(ordered: readonly Entry[], metadata: readonly [string, string][]): Uint8Array {
  const texts: string[] = [];
  if (metadata.length > 0) {
    const pairs = metadata.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    texts.push(`"${METADATA}":{${pairs.join(",")}}`);
  }
  let end = 0;
  for (const { name, dtype, shape, denseBytes } of ordered) {
    const parts = PAIRS[dtype];
    const axes = parts === undefined ? shape : [...shape, 2];
    const start = end;
    end += denseBytes;
    texts.push(
      `${JSON.stringify(name)}:{"dtype":"${parts ?? dtype}","shape":[${axes}],"data_offsets":[${start},${end}]}`,
    );
  }
  const json = new TextEncoder().encode(`{${texts.join(",")}}`);
  const length = Math.ceil(json.length / 8) * 8;
  const head = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(length), true);
  head.set(json, LENGTH_BYTES);
  return head;
}

/** Compares by code points, as Python does; JavaScript's own order is that of UTF-16. */
function byName<T>(name: (item: T) => string): (one: T, other: T) => number {
  return (one, other) => {
    const ours = Array.from(name(one), (each) => each.codePointAt(0) ?? 0);
    const theirs = Array.from(name(other), (each) => each.codePointAt(0) ?? 0);
    const at = ours.findIndex((each, index) => each !== theirs[index]);
    return at < 0 ? ours.length - theirs.length : (ours[at] ?? 0) - (theirs[at] ?? -1);
  };
}
