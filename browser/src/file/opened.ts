// An open file in this thread: payloads from a source through decoders into typed arrays.
import type { TensorFile } from "../convert/composed.js";
import { type ToOnnxOptions, toOnnx } from "../convert/onnx.js";
import { toSafetensors } from "../convert/safetensors.js";
import { Decoder, type Index, type Located } from "../decode/decoder.js";
import { about, DczError, spellNames } from "../errors.js";
import { abortable, checkAborted, sleep } from "../signals.js";
import { allocate, type Source } from "../source/source.js";
import type { Tensor } from "../types.js";
import type { DczFile, TensorOptions, TensorsOptions } from "./file.js";
import { typedArray } from "./typed.js";

/** Milliseconds of decoding after which the page gets a turn. */
const TURN_MS = 50;

export class Opened implements DczFile {
  readonly bytes: number;
  readonly metadata: ReadonlyMap<string, string>;
  readonly entries: ReadonlyMap<string, Located>;
  readonly #payloads: ReadonlyMap<string, readonly Located[]>; // the name with the payload -> it, and those tied to it
  readonly #idle: Decoder[];
  readonly #busy = new Set<Decoder>();
  readonly #quit = new AbortController();
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly source: Source,
    index: Index,
    decoder: Decoder,
    private readonly onClose: () => void,
  ) {
    this.bytes = index.size;
    this.metadata = index.metadata;
    this.entries = new Map(index.entries.map((entry) => [entry.name, entry]));
    const payloads = new Map<string, Located[]>();
    for (const entry of index.entries) {
      const holders = payloads.get(entry.tiedTo ?? entry.name);
      if (holders === undefined) payloads.set(entry.name, [entry]);
      else holders.push(entry);
    }
    this.#payloads = payloads;
    this.#idle = [decoder];
  }

  get memoryBytes(): number {
    let sum = this.source.heldBytes;
    for (const decoder of [...this.#idle, ...this.#busy]) sum += decoder.memoryBytes;
    return sum;
  }

  tensor(name: string, { signal }: TensorOptions = {}): Promise<Tensor> {
    const turn = this.#last.then(async () => {
      checkAborted(this.#quit.signal, signal);
      const entry = this.#entry(name);
      const holder = this.#holder(entry);
      return this.#dense(entry, holder, await this.#payload(holder, signal), signal);
    });
    this.#last = turn.catch(() => undefined);
    return abortable(turn, this.#quit.signal, signal);
  }

  async *tensors(options: TensorsOptions = {}): AsyncGenerator<Tensor, void> {
    const { signal } = options;
    checkAborted(this.#quit.signal, signal);
    const wanted = wantedOf(options);
    for (const name of wanted ?? []) this.#entry(name);
    const groups = new Map<Located, readonly Located[]>();
    for (const [name, all] of this.#payloads) {
      const members = wanted === undefined ? all : all.filter((entry) => wanted.has(entry.name));
      if (members.length > 0) groups.set(this.#entry(name), members);
    }
    for await (const [holder, payload] of this.#pass([...groups.keys()], wanted === undefined, signal)) {
      for (const entry of groups.get(holder) ?? []) yield await this.#dense(entry, holder, payload, signal);
    }
  }

  async *slices(names: string | readonly string[], options: TensorOptions = {}): AsyncGenerator<Uint8Array, void> {
    for await (const slice of this.#lent(names, options)) yield slice.slice();
  }

  toOnnx(options: ToOnnxOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return toOnnx(this.#lending, options);
  }

  toSafetensors(options: TensorOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return toSafetensors(this.#lending, options);
  }

  close(reason = new DczError("aborted", `${this.source.name}: the file was closed.`)): void {
    if (this.#quit.signal.aborted) return;
    this.#quit.abort(reason);
    this.source.close(reason);
    this.#idle.length = 0;
    this.onClose();
  }

  /** This file with slices that are valid until the next step: nothing is copied but into its place. */
  get #lending(): TensorFile {
    const slices = (names: string | readonly string[], options?: TensorOptions) => this.#lent(names, options);
    return { metadata: this.metadata, entries: this.entries, slices };
  }

  async *#lent(names: string | readonly string[], { signal }: TensorOptions = {}): AsyncGenerator<Uint8Array, void> {
    checkAborted(this.#quit.signal, signal);
    const wanted = typeof names === "string" ? [names] : names;
    const holders = [...new Set(wanted.map((name) => this.#holder(this.#entry(name))))];
    holders.sort((one, other) => one.offset - other.offset);
    for await (const [holder, payload] of this.#payloadsOf(holders, signal)) {
      yield* this.#decoded(holder, payload, signal);
    }
  }

  #entry(name: string): Located {
    const entry = this.entries.get(name);
    if (entry !== undefined) return entry;
    const names = spellNames(this.entries.keys());
    throw new DczError("not-found", `${this.source.name}: has no tensor ${quote(name)}. It has ${names}.`);
  }

  /** The entry whose payload holds the tensor. */
  #holder(entry: Located): Located {
    return entry.tiedTo === undefined ? entry : this.#entry(entry.tiedTo);
  }

  /** The payloads of these entries; that of one alone stays in a stream's memory, as it does for `tensor`. */
  async *#payloadsOf(
    holders: readonly Located[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<readonly [Located, Uint8Array], void> {
    const [only] = holders;
    if (only !== undefined && holders.length === 1) yield [only, await this.#payload(only, signal)];
    else yield* this.#pass(holders, false, signal);
  }

  /** The payloads of these entries, in one pass; of the whole file, it checks that the file ends there. */
  async *#pass(
    holders: readonly Located[],
    whole: boolean,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<readonly [Located, Uint8Array], void> {
    const spans = holders.map(({ offset, bytes }) => ({ offset, length: bytes }));
    const pieces = this.source.pieces(spans, whole ? this.bytes : undefined, signal);
    try {
      for (const holder of holders) {
        const piece = await pieces.next();
        if (piece.done) throw new DczError("truncated", `${this.source.name}: ends before ${quote(holder.name)}.`);
        yield [holder, piece.value];
      }
      await pieces.next(); // whether the file ends here
    } finally {
      await pieces.return();
    }
  }

  #payload({ offset, bytes }: Located, signal?: AbortSignal): Promise<Uint8Array> {
    return this.source.read({ offset, length: bytes }, signal);
  }

  async #dense(entry: Located, holder: Located, payload: Uint8Array, signal?: AbortSignal): Promise<Tensor> {
    const dense = new Uint8Array(allocate(holder.denseBytes));
    let at = 0;
    for await (const slice of this.#decoded(holder, payload, signal)) {
      dense.set(slice, at);
      at += slice.length;
    }
    const { name, dtype, shape } = entry;
    return { name, dtype, shape, data: typedArray(dtype, dense.buffer) } as Tensor;
  }

  /** Decodes with a decoder of its own, and lets the page work in between. A slice is valid until the next step. */
  async *#decoded(holder: Located, payload: Uint8Array, signal?: AbortSignal): AsyncGenerator<Uint8Array, void> {
    const decoder = this.#idle.pop() ?? (await Decoder.create());
    this.#busy.add(decoder);
    try {
      let began = performance.now();
      const slices = decoder.decode(holder, payload);
      for (;;) {
        const { done, value } = about(this.source.name, () => slices.next());
        if (done || value === undefined) return;
        yield value;
        checkAborted(this.#quit.signal, signal);
        if (performance.now() - began > TURN_MS) {
          await sleep(0, signal);
          checkAborted(this.#quit.signal);
          began = performance.now();
        }
      }
    } finally {
      this.#busy.delete(decoder);
      if (this.#idle.length === 0 && !this.#quit.signal.aborted) this.#idle.push(decoder);
    }
  }
}

/** The names that a pass wants; undefined for all. A text is one name, though it is a list of its characters, too. */
export function wantedOf(options: TensorsOptions): Set<string> | undefined {
  if (Array.isArray(options)) {
    throw new DczError("argument", "tensors() takes an object such as {names: [...]}; found an array.");
  }
  const { names } = options;
  return names === undefined ? undefined : new Set(typeof names === "string" ? [names] : names);
}

function quote(name: string): string {
  return JSON.stringify(name);
}
