// The tensors of an open file as layers take them: asked for by their names, then read in one pass.

import { DczError, spellNames } from "../errors.js";
import type { Entry } from "../types.js";
import { FLOAT_BYTES } from "./floats.js";
import { type Packs, WeightReader } from "./pack.js";
import { Dense, type WeightSource, type Weights } from "./packed.js";

/** A tensor that was asked for; until `read` is through, `value` gives one of the same shape, without its numbers. */
export interface Wanted<T> {
  readonly shape: readonly number[];
  value(): T;
}

/** Takes tensors out of a file, each one once. Methods throw DczError "not-found" or "argument" for misfits. */
export class FileTensors {
  readonly #taken = new Set<string>();
  // by the names of those that are in the file: tied weights, and those of a layer that runs twice, are held once
  readonly #packs = new Map<string, Packs | undefined>();
  readonly #held = new Map<string, Weights>();

  constructor(
    readonly file: WeightSource,
    /** Which weights are packed, out of those of a number of dimensions. */
    readonly packsOf: (dimensions: number) => Packs,
  ) {}

  /** The matrix of a fully connected layer (two dimensions), or the weight of a convolution. */
  weight(name: string, dimensions: number): Wanted<Weights> {
    const entry = this.#entry(name, dimensions);
    const root = entry.tiedTo ?? name;
    this.#packs.set(root, this.packsOf(dimensions));
    return { shape: entry.shape, value: () => this.#held.get(root) ?? new Dense(entry.shape, new Float32Array(0)) };
  }

  /** A tensor of one dimension. */
  vector(name: string, length: number): Wanted<Float32Array> {
    const entry = this.#entry(name, 1);
    const { shape } = entry;
    if (shape[0] !== length) {
      throw new DczError("argument", `${name} has shape [${shape.join(", ")}], expected [${length}]`);
    }
    const root = entry.tiedTo ?? name;
    if (!this.#packs.has(root)) this.#packs.set(root, undefined);
    const value = () => {
      const weights = this.#held.get(root);
      if (weights === undefined) return new Float32Array(length);
      if (weights instanceof Dense) return weights.data;
      throw new DczError("index", `${name} is tied to ${root}, which has another shape`);
    };
    return { shape, value };
  }

  /** As `vector`; undefined if the file has no such tensor. */
  vectorIfAny(name: string, length: number): Wanted<Float32Array> | undefined {
    return this.file.entries.has(name) ? this.vector(name, length) : undefined;
  }

  /** The length of a tensor of one dimension. */
  length(name: string): number {
    return this.#entry(name, 1).shape[0] ?? 0;
  }

  /** Notes that a tensor has been dealt with. */
  take(name: string): void {
    this.#taken.add(name);
  }

  /** The names that no layer took. */
  left(): string[] {
    return [...this.file.entries.keys()].filter((name) => !this.#taken.has(name));
  }

  /** Reads all that was asked for, in one pass over the file. Throws what reading and packing throw. */
  async read(signal: AbortSignal | undefined): Promise<void> {
    const wanted = [...this.file.entries.values()].filter(({ name }) => this.#packs.has(name));
    const pieces = this.file.slices(
      wanted.map(({ name }) => name),
      signal === undefined ? {} : { signal },
    );
    const iterator = pieces[Symbol.asyncIterator]();
    try {
      for (const entry of wanted) {
        const reader = await WeightReader.create(entry, this.#packs.get(entry.name));
        for (let left = entry.denseBytes; left > 0; ) {
          const { value, done } = await iterator.next();
          if (done || value.length === 0) throw new DczError("payload", `${entry.name} lacks ${left} bytes`);
          reader.take(value);
          left -= value.length;
        }
        this.#held.set(entry.name, reader.weights());
      }
    } finally {
      await iterator.return?.();
    }
  }

  #entry(name: string, dimensions: number): Entry {
    const entry = this.file.entries.get(name);
    if (entry === undefined) {
      const names = spellNames(this.file.entries.keys());
      throw new DczError("not-found", `the file has no tensor ${name}; it has ${names}`);
    }
    if (!FLOAT_BYTES.has(entry.dtype)) {
      const expected = [...FLOAT_BYTES.keys()].join(", ");
      throw new DczError("argument", `${name} is of dtype ${entry.dtype}, expected ${expected}`);
    }
    if (entry.shape.length !== dimensions) {
      const found = `[${entry.shape.join(", ")}]`;
      throw new DczError("argument", `${name} has shape ${found}, expected ${dimensions} dimensions`);
    }
    this.take(name);
    return entry;
  }
}
