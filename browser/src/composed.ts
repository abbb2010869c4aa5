// A file composed of given bytes and of tensors: its length, all of it at once, or piece after piece.

import { DczError } from "./errors.js";
import type { DczFile } from "./file.js";
import { checkAborted } from "./signals.js";
import type { Entry } from "./types.js";

/** What is needed of an open file here. */
export type TensorFile = Pick<DczFile, "metadata" | "entries" | "slices">;

/** Bytes as they are, or the elements of a tensor. */
export type Part = Uint8Array | Entry;

/** The bytes of a part. */
export function lengthOf(part: Part): number {
  return part instanceof Uint8Array ? part.length : part.denseBytes;
}

/** A buffer of this length. Throws DczError "memory", with the bytes that are needed, where it cannot be had. */
export function allocate(bytes: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes);
  } catch (error) {
    throw new DczError(
      "memory",
      `the model takes ${bytes} bytes of memory in one piece, which is more than this browser gives: ` +
        "read the tensors one at a time with tensors()",
      { cause: error },
    );
  }
}

/** All bytes of one tensor. */
export async function bytesOf(file: TensorFile, entry: Entry): Promise<Uint8Array<ArrayBuffer>> {
  return new Composed(file, [entry]).toBytes();
}

/** A file composed of parts in their order. Nothing is decoded before it is asked for. */
export class Composed {
  /** Its length in bytes. */
  readonly bytes: number;

  constructor(
    private readonly file: TensorFile,
    private readonly parts: readonly Part[],
  ) {
    this.bytes = parts.reduce((sum, part) => sum + lengthOf(part), 0);
  }

  /**
   * The whole, in a buffer that is allocated once. Each tensor is decoded once, in the order of the `.dcz` file, into
   * its place; ties are copies. Throws DczError, "memory" among others.
   */
  async toBytes(signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const whole = allocate(this.bytes);
    // the name of each decoded tensor -> where it and those that are tied to it begin
    const places = new Map<string, number[]>();
    let offset = 0;
    for (const part of this.parts) {
      if (part instanceof Uint8Array) {
        whole.set(part, offset);
      } else {
        const own = part.tiedTo ?? part.name;
        places.set(own, [...(places.get(own) ?? []), offset]);
      }
      offset += lengthOf(part);
    }
    for (const entry of this.file.entries.values()) {
      const [first, ...ties] = places.get(entry.name) ?? [];
      if (first === undefined) {
        continue;
      }
      let at = first;
      for await (const slice of exactly(this.file, entry, signal)) {
        whole.set(slice, at);
        at += slice.length;
      }
      for (const tie of ties) {
        whole.copyWithin(tie, first, at);
      }
    }
    return whole;
  }

  /** The bytes from one offset to another, piece after piece; each piece is the caller's own. Throws DczError. */
  async *pieces(from = 0, to = this.bytes, signal?: AbortSignal | null): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    let offset = 0;
    for (const part of this.parts) {
      if (offset >= to) {
        return;
      }
      const end = offset + lengthOf(part);
      if (end > from && part instanceof Uint8Array) {
        yield part.slice(Math.max(from - offset, 0), to - offset);
      } else if (end > from && !(part instanceof Uint8Array)) {
        let at = offset;
        for await (const slice of exactly(this.file, part, signal ?? undefined)) {
          if (at < to && at + slice.length > from) {
            yield slice.slice(Math.max(from - at, 0), to - at);
          }
          at += slice.length;
          if (at >= to) {
            break;
          }
        }
      }
      offset = end;
    }
  }
}

/** The slices of a tensor, which together have the length of its entry; else throws DczError. */
async function* exactly(file: TensorFile, entry: Entry, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  let found = 0;
  for await (const slice of file.slices(entry.tiedTo ?? entry.name, { signal })) {
    checkAborted(signal);
    found += slice.length;
    if (found > entry.denseBytes) {
      break;
    }
    yield slice;
  }
  if (found !== entry.denseBytes) {
    throw new DczError("payload", `${entry.name} gave ${found} bytes, expected ${entry.denseBytes}`);
  }
}
