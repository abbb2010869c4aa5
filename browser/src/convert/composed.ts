// A file composed of given bytes and of tensors: its length, all of it at once, or piece after piece.

import { DczError } from "../errors.js";
import type { DczFile } from "../file/file.js";
import { checkAborted } from "../signals.js";
import { allocate } from "../source/source.js";
import type { Entry } from "../types.js";

/** What is needed of an open file here. Its slices need to be valid until the next step alone. */
export type TensorFile = Pick<DczFile, "metadata" | "entries" | "slices">;

/** Bytes as they are, or the elements of a tensor. */
export type Part = Uint8Array | Entry;

/** The bytes of a part. */
export function lengthOf(part: Part): number {
  return part instanceof Uint8Array ? part.length : part.denseBytes;
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
    const whole = new Uint8Array(allocate(this.bytes, "Read the tensors one at a time with tensors()"));
    // the name of each tensor with a payload -> where it and those that are tied to it begin
    const places = new Map<string, number[]>();
    let offset = 0;
    for (const part of this.parts) {
      if (part instanceof Uint8Array) {
        whole.set(part, offset);
      } else {
        const own = ownName(part);
        const known = places.get(own);
        if (known === undefined) places.set(own, [offset]);
        else known.push(offset);
      }
      offset += lengthOf(part);
    }
    const wanted = [...this.file.entries.values()].filter((each) => places.has(each.name));
    const slices = new Slices(this.file, wanted, signal);
    try {
      for (const entry of wanted) {
        const [first = 0, ...ties] = places.get(entry.name) ?? [];
        let at = first;
        for await (const slice of slices.next(entry)) {
          whole.set(slice, at);
          at += slice.length;
        }
        for (const tie of ties) {
          whole.copyWithin(tie, first, at);
        }
      }
    } finally {
      await slices.end();
    }
    return whole;
  }

  /** The bytes from one offset to another, piece after piece; each piece is the caller's own. Throws DczError. */
  async *pieces(from = 0, to = this.bytes, signal?: AbortSignal): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const within: [Part, number][] = [];
    let end = 0;
    for (const part of this.parts) {
      const start = end;
      end += lengthOf(part);
      if (end > from && start < to) {
        within.push([part, start]);
      }
    }
    const entries = within.flatMap(([part]) => (part instanceof Uint8Array ? [] : [part]));
    const slices = new Slices(this.file, entries, signal);
    try {
      for (const [part, start] of within) {
        let at = start;
        for await (const bytes of part instanceof Uint8Array ? [part] : slices.next(part)) {
          const piece = bytes.slice(Math.max(from - at, 0), to - at);
          at += bytes.length;
          if (piece.length > 0) {
            yield piece;
          }
          if (at >= to) {
            return;
          }
        }
      }
    } finally {
      await slices.end();
    }
  }
}

/** The slices of tensors in a given order, with one request for each run that is in the order of the file. */
class Slices {
  private readonly order: ReadonlyMap<string, number>;
  private readonly waiting: string[];
  private under: AsyncIterator<Uint8Array> | undefined;
  // tensors of the pass under way that have not been read
  private left = 0;

  constructor(
    private readonly file: TensorFile,
    entries: readonly Entry[],
    private readonly signal: AbortSignal | undefined,
  ) {
    this.order = new Map([...file.entries.keys()].map((name, at) => [name, at]));
    this.waiting = entries.filter((each) => each.denseBytes > 0).map(ownName);
  }

  /** The slices of the next tensor. Throws DczError unless they have the length of its entry. */
  async *next(entry: Entry): AsyncGenerator<Uint8Array> {
    let missing = entry.denseBytes;
    if (missing > 0 && this.left === 0) {
      await this.begin();
    }
    while (missing > 0) {
      checkAborted(this.signal);
      const { done, value } = (await this.under?.next()) ?? { done: true, value: undefined };
      if (done || value.length > missing) {
        throw new DczError("payload", `${entry.name} does not give its ${entry.denseBytes} bytes`);
      }
      missing -= value.length;
      this.left -= missing === 0 ? 1 : 0;
      yield value;
    }
  }

  /** Ends the pass under way. */
  async end(): Promise<void> {
    await this.under?.return?.();
  }

  private async begin(): Promise<void> {
    await this.end();
    const placeOf = (at: number): number => this.order.get(this.waiting[at] ?? "") ?? -1;
    let run = 1;
    while (placeOf(run) > placeOf(run - 1)) {
      run += 1;
    }
    this.left = run;
    this.under = this.file.slices(this.waiting.splice(0, run), { signal: this.signal })[Symbol.asyncIterator]();
  }
}

function ownName(entry: Entry): string {
  return entry.tiedTo ?? entry.name;
}
