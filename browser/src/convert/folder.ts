// A file of a Hugging Face folder (docs/format.md, "Folders") -> its files, bit for bit.

import { DczError } from "../errors.js";
import type { Entry } from "../types.js";
import { bytesOf, Composed, type Part, type TensorFile } from "./composed.js";

/** Metadata of a file with a folder: the names of its files of weights, in JSON. */
export const FOLDER_KEY = "deepcompression.folder";

const PREFIX = "folder/";
const METADATA = "__metadata__";
const LENGTH_BYTES = 8;

/** A file of a folder. */
export interface FolderFile {
  /** Relative to the folder, with `/` between its parts. */
  readonly name: string;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** The names of a folder's files of weights; none for a file without a folder. Throws DczError. */
function weightsOf(file: TensorFile): string[] {
  const text = file.metadata.get(FOLDER_KEY);
  if (text === undefined || text === "") {
    return [];
  }
  const names = parsed(text);
  if (!Array.isArray(names) || names.length === 0 || !names.every((each) => typeof each === "string")) {
    throw new DczError("payload", `its metadata ${FOLDER_KEY} names no files of weights in JSON`);
  }
  const absent = names.find((each) => !file.entries.has(PREFIX + each));
  if (absent !== undefined) {
    throw new DczError("payload", `its metadata ${FOLDER_KEY} names ${absent}, which is not in it`);
  }
  return names;
}

/** The value of a text of JSON; undefined for another text. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The entries of a file without those that hold files of a folder. Throws DczError for a folder's bad metadata. */
export function tensorsOf(file: TensorFile): Entry[] {
  const beside = weightsOf(file).length > 0;
  return [...file.entries.values()].filter((each) => !(beside && each.name.startsWith(PREFIX)));
}

/**
 * The files of the Hugging Face folder that a file was made of, bit for bit, one at a time: first those beside the
 * weights, such as a tokenizer. The memory is that of the largest file, and of one payload.
 *
 * Throws DczError, before it gives the first file, for names that lead out of the folder and for heads that do not
 * describe the tensors; "unsupported" for a file without a folder.
 */
export async function* folderFiles(file: TensorFile): AsyncGenerator<FolderFile> {
  const weights = weightsOf(file);
  if (weights.length === 0) {
    throw new DczError("unsupported", "this file was not made of a folder: take its tensors with toSafetensors()");
  }
  const held = [...file.entries.values()].filter((each) => each.name.startsWith(PREFIX));
  checkNames(held.map((each) => each.name.slice(PREFIX.length)));
  const ofWeights = new Set(weights);
  const beside: [string, Composed][] = [];
  const composed: [string, Composed][] = [];
  const found: Entry[] = [];
  for (const entry of held) {
    const name = entry.name.slice(PREFIX.length);
    if (ofWeights.has(name)) {
      const head = await bytesOf(file, entry);
      const tensors = layoutOf(name, head, file.entries);
      found.push(...tensors);
      const parts: Part[] = [head, ...tensors];
      composed.push([name, new Composed(file, parts)]);
    } else {
      beside.push([name, new Composed(file, [entry])]);
    }
  }
  const names = new Set(found.map((each) => each.name));
  const lost = tensorsOf(file).find((each) => each.tiedTo === undefined && !names.has(each.name));
  if (lost !== undefined || names.size < found.length) {
    throw new DczError("payload", "the heads of the folder's files of weights do not hold each tensor once");
  }
  for (const [name, each] of [...beside, ...composed]) {
    yield { name, data: await each.toBytes() };
  }
}

/** Throws DczError unless each name is that of a file in the folder, on every system, and none leads through another. */
function checkNames(names: readonly string[]): void {
  const all = new Set(names);
  const lengths = new Set(names.map((name) => name.length));
  for (const name of names) {
    let through = false;
    for (let at = name.indexOf("/"); at >= 0; at = name.indexOf("/", at + 1)) {
      // asked first, as a name may have millions of parts
      through ||= lengths.has(at) && all.has(name.slice(0, at));
    }
    if (through || /[\\\0]|^.:/su.test(name) || /(?:^|\/)\.{0,2}(?:\/|$)/.test(name)) {
      throw new DczError("payload", `${JSON.stringify(name)} is not the name of a file inside of its folder`);
    }
  }
}

/** The tensors of a file of weights in the order of their data. Throws DczError unless its head describes them. */
function layoutOf(name: string, head: Uint8Array, entries: ReadonlyMap<string, Entry>): Entry[] {
  const bad = (why: string): DczError => new DczError("payload", `the head of the folder's file ${name} ${why}`);
  const length = head.length < LENGTH_BYTES ? -1n : new DataView(head.buffer).getBigUint64(0, true);
  const header = parsed(new TextDecoder().decode(head.subarray(LENGTH_BYTES)));
  if (length !== BigInt(head.length - LENGTH_BYTES) || typeof header !== "object" || header === null) {
    throw bad("is damaged");
  }
  const ranges: { entry: Entry; start: number; end: number }[] = [];
  for (const [tensor, value] of Object.entries(header)) {
    if (tensor === METADATA) {
      continue;
    }
    const offsets: unknown = typeof value === "object" && value !== null ? value.data_offsets : undefined;
    const entry = entries.get(tensor);
    const [start, end]: unknown[] = Array.isArray(offsets) ? offsets : [];
    if (entry === undefined || typeof start !== "number" || typeof end !== "number") {
      throw bad(`does not describe the tensor ${tensor}`);
    }
    ranges.push({ entry, start, end });
  }
  ranges.sort((one, other) => one.start - other.start || one.end - other.end);
  let at = 0;
  for (const { entry, start, end } of ranges) {
    if (start !== at || end - start !== entry.denseBytes) {
      throw bad(`does not describe the tensor ${entry.name}`);
    }
    at = end;
  }
  return ranges.map(({ entry }) => entry);
}
