// The tensors of an open file as layers take them, by their names.

import { DczError } from "./errors.js";
import { FLOAT_BYTES } from "./floats.js";
import { type Packs, pack, readDense } from "./pack.js";
import type { WeightSource, Weights } from "./packed.js";
import type { Entry } from "./types.js";

/** Takes tensors out of a file, each one once; throws DczError "not-found" or "argument" for those that do not fit. */
export class FileTensors {
  readonly #taken = new Set<string>();
  // tied weights, and those of a layer that runs twice, are held once
  readonly #held = new Map<string, Promise<Weights>>();

  constructor(
    readonly file: WeightSource,
    /** Which weights are packed, out of those of a number of dimensions. */
    readonly packs: (dimensions: number) => Packs,
  ) {}

  /** The matrix of a fully connected layer (two dimensions), or the weight of a convolution. */
  async weight(name: string, dimensions: number): Promise<Weights> {
    const entry = this.#entry(name, dimensions);
    const root = entry.tiedTo ?? name;
    let held = this.#held.get(root);
    if (held === undefined) {
      held = pack(this.file, root, this.packs(dimensions));
      this.#held.set(root, held);
    }
    return held;
  }

  /** A tensor of one dimension. */
  async vector(name: string, length: number): Promise<Float32Array<ArrayBuffer>> {
    const { shape } = this.#entry(name, 1);
    if (shape[0] !== length) {
      throw new DczError("argument", `${name} has shape [${shape.join(", ")}], expected [${length}]`);
    }
    return (await readDense(this.file, name)).data;
  }

  /** As `vector`; undefined if the file has no such tensor. */
  async vectorIfAny(name: string, length: number): Promise<Float32Array<ArrayBuffer> | undefined> {
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

  #entry(name: string, dimensions: number): Entry {
    const entry = this.file.entries.get(name);
    if (entry === undefined) {
      const names = [...this.file.entries.keys()];
      const some = names.slice(0, 10).join(", ") + (names.length > 10 ? ` and ${names.length - 10} more` : "");
      throw new DczError("not-found", `the file has no tensor ${name}; it has ${some || "none: it is empty"}`);
    }
    if (!FLOAT_BYTES.has(entry.dtype)) {
      throw new DczError(
        "argument",
        `${name} is of dtype ${entry.dtype}, expected ${[...FLOAT_BYTES.keys()].join(", ")}`,
      );
    }
    if (entry.shape.length !== dimensions) {
      const found = `[${entry.shape.join(", ")}]`;
      throw new DczError("argument", `${name} has shape ${found}, expected ${dimensions} dimensions`);
    }
    this.take(name);
    return entry;
  }
}
