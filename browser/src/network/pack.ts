// Packs a tensor of an open file, slice by slice: the dense tensor is never whole in memory.

import { type Address, ComputeInstance } from "../compute/instance.js";
import { DczError } from "../errors.js";
import type { Entry } from "../types.js";
import { toFloat32 } from "./floats.js";
import { BLOCK_ROWS, Dense, matrixOf, Packed, type WeightSource, type Weights } from "./packed.js";

/** Weights that are packed at once. */
const SLICE = 16384;
/** Entries a word: 32 / perWord bits each. */
const PER_WORD = [2, 3, 4, 5, 6, 8, 10, 16] as const;
/** Of `pack_slice`: there are more than 256 distinct survivors. */
const TOO_MANY = 0xffffffff;
/** Of a row that has not begun: it has no pairs. */
const UNKNOWN = 0xffffffff;
/** Columns without a survivor that a pair with gap 0 stands for. */
const LONG_GAP = 255;
/** Rows are sorted by their words if that saves such a part of them. */
const WORTH_SORTING = 0.03;

/** Whether a matrix with so many survivors and centroids is packed, or dense. */
export type Packs = (rows: number, cols: number, survivors: number, centroids: number) => boolean;

/** The weights of one tensor, out of its pieces in order. */
export class WeightReader {
  readonly #entry: Entry;
  readonly #packs: Packs | undefined;
  readonly #packer: Packer | undefined;
  #dense: Float32Array<ArrayBuffer> | undefined;
  #at = 0;

  private constructor(entry: Entry, packs: Packs | undefined, packer: Packer | undefined) {
    this.#entry = entry;
    this.#packs = packs;
    this.#packer = packer;
    if (packer === undefined) this.#makeDense();
  }

  /**
   * For a tensor of F64, F32, F16 or BF16. Its weights are dense without `packs`, or if that says so, or if they have
   * more than 256 distinct survivors. Throws DczError "memory", and what loading compute.wasm throws.
   */
  static async create(entry: Entry, packs: Packs | undefined): Promise<WeightReader> {
    return new WeightReader(entry, packs, packs && (await Packer.create(entry.shape)));
  }

  /** Takes the next dense bytes. Throws DczError "argument" for another dtype, and "memory". */
  take(bytes: Uint8Array): void {
    const weights = toFloat32(this.#entry.dtype, bytes);
    const taken = this.#dense === undefined ? (this.#packer?.take(weights) ?? 0) : 0;
    if (taken < weights.length) this.#makeDense().set(weights.subarray(taken), this.#at + taken);
    this.#at += weights.length;
  }

  /** The weights, behind the last piece. Throws a DczError "memory". */
  weights(): Weights {
    const packer = this.#packer;
    if (this.#dense === undefined && packer !== undefined) {
      const { rows, cols, survivors, centroids } = packer;
      if (this.#packs?.(rows, cols, survivors, centroids)) return packer.packed();
    }
    return new Dense(this.#entry.shape, this.#makeDense());
  }

  /** The dense array, with the weights that were packed so far. */
  #makeDense(): Float32Array<ArrayBuffer> {
    if (this.#dense === undefined) {
      const [rows, cols] = matrixOf(this.#entry.shape);
      try {
        this.#dense = new Float32Array(rows * cols);
      } catch (cause) {
        const what = `no memory for the ${4 * rows * cols} bytes of ${this.#entry.name}`;
        throw new DczError("memory", `${what}. Close files that are no longer needed.`, { cause });
      }
      this.#packer?.expand(this.#dense);
    }
    return this.#dense;
  }
}

/** The weights of one tensor, packed if `WeightReader` can. Throws DczError "not-found", and what reading throws. */
export async function pack(file: WeightSource, name: string, packs: Packs = () => true): Promise<Weights> {
  const entry = file.entries.get(name);
  if (entry === undefined) throw new DczError("not-found", `the file has no tensor ${name}`);
  const reader = await WeightReader.create(entry, packs);
  for await (const bytes of file.slices(name)) reader.take(bytes);
  return reader.weights();
}

/** A choice of entries, and the words that it takes. */
interface Plan {
  readonly perWord: number;
  readonly skipBits: number;
  readonly order: Uint32Array<ArrayBuffer> | undefined;
  readonly starts: Uint32Array<ArrayBuffer>;
}

/** Where blocks start, for the words of their rows; and the end. */
function startsOf(words: Uint32Array): Uint32Array<ArrayBuffer> {
  const starts = new Uint32Array(Math.ceil(words.length / BLOCK_ROWS) + 1);
  for (let block = 1; block < starts.length; block++) {
    const most = words.subarray((block - 1) * BLOCK_ROWS, block * BLOCK_ROWS).reduce((a, b) => Math.max(a, b), 0);
    starts[block] = (starts[block - 1] ?? 0) + BLOCK_ROWS * most;
  }
  return starts;
}

/** Takes weights one after another as pairs of gap and code (wasm/compute_pack.c), then writes them as words. */
class Packer {
  readonly rows: number;
  readonly cols: number;
  readonly #starts: Address;
  readonly #slice: Address;
  readonly #pairs: Address;
  #count = 0;

  private constructor(
    readonly instance: ComputeInstance,
    readonly shape: readonly number[],
  ) {
    [this.rows, this.cols] = matrixOf(shape);
    this.#starts = instance.give(4 * (this.rows + 1));
    instance.integers(this.#starts, this.rows + 1).fill(UNKNOWN);
    this.#slice = instance.give(4 * SLICE);
    this.#pairs = instance.mark;
    instance.functions.pack_begin(this.cols);
  }

  static async create(shape: readonly number[]): Promise<Packer> {
    return new Packer(await ComputeInstance.create(), shape);
  }

  get survivors(): number {
    return this.instance.functions.pack_survivors() >>> 0;
  }

  get centroids(): number {
    return this.instance.functions.pack_distinct();
  }

  /** Takes weights, until the distinct survivors are too many. Returns the number taken, in whole slices. */
  take(weights: Float32Array): number {
    for (let at = 0; at < weights.length; at += SLICE) {
      const part = weights.subarray(at, at + SLICE);
      const end = this.#pairs + 2 * this.#count;
      this.instance.release(this.#pairs);
      this.instance.give(2 * (this.#count + part.length + 1));
      this.instance.floats(this.#slice, part.length).set(part);
      const added = this.instance.functions.pack_slice(this.#slice, part.length, end, this.#starts) >>> 0;
      if (added === TOO_MANY) return at;
      this.#count += added;
    }
    return weights.length;
  }

  /** Writes the weights taken so far to a dense array of zeros. */
  expand(dense: Float32Array): void {
    const codebook = this.#codebook();
    const pairs = this.#pairsTaken();
    const starts = this.instance.integers(this.#starts, this.rows + 1);
    for (let row = 0; row < this.rows; row++) {
      let column = -1;
      const end = Math.min(starts[row + 1] ?? 0, pairs.length);
      for (let i = starts[row] ?? 0; i < end; i++) {
        const pair = pairs[i] ?? 0;
        column += pair & 255 || LONG_GAP;
        if (pair & 255) dense[row * this.cols + column] = codebook[pair >> 8] ?? 0;
      }
    }
  }

  /** The weights taken, as words. */
  packed(): Packed {
    const { functions } = this.instance;
    const codebook = this.#codebook();
    this.instance.integers(this.#starts, this.rows + 1)[this.rows] = this.#count;
    const codeBits = Math.max(1, Math.ceil(Math.log2(codebook.length)));
    const { perWord, skipBits, order, starts } = this.#plan(codeBits);
    const blocks = starts.length - 1;
    const total = starts[blocks] ?? 0;
    const out = this.instance.give(4 * total);
    const pairs = this.instance.integers(this.#starts, this.rows + 1).slice();
    const address = (row: number) => this.#pairs + 2 * (pairs[row] ?? 0);
    for (let stored = 0; stored < blocks * BLOCK_ROWS; stored++) {
      const block = Math.floor(stored / BLOCK_ROWS);
      const [start = 0, end = 0] = starts.subarray(block, block + 2);
      const row = stored < this.rows ? (order?.[stored] ?? stored) : this.rows;
      const last = Math.min(row + 1, this.rows);
      const at = out + 4 * (start + (stored % BLOCK_ROWS));
      functions.pack_row(address(row), address(last), perWord, skipBits, at, (end - start) / BLOCK_ROWS);
    }
    const parts = { skipBits, codeBits, starts, order, codebook, survivors: this.survivors };
    return new Packed({ shape: this.shape, words: this.instance.integers(out, total).slice(), ...parts });
  }

  /** The choice of entries that takes the fewest words. */
  #plan(codeBits: number): Plan {
    const { functions } = this.instance;
    const at = this.instance.give(4 * this.rows);
    let best: (Plan & { readonly total: number }) | undefined;
    for (const perWord of PER_WORD) {
      const skipBits = Math.floor(32 / perWord) - codeBits;
      if (skipBits < 1) break;
      functions.pack_measure(this.#pairs, this.#starts, this.rows, perWord, skipBits, at);
      const words = this.instance.integers(at, this.rows);
      const plain = startsOf(words);
      const order = Uint32Array.from(words.keys()).sort((a, b) => (words[b] ?? 0) - (words[a] ?? 0) || a - b);
      const sorted = startsOf(order.map((row) => words[row] ?? 0));
      const sorts = (sorted.at(-1) ?? 0) < (1 - WORTH_SORTING) * (plain.at(-1) ?? 0);
      const starts = sorts ? sorted : plain;
      const total = (starts.at(-1) ?? 0) + (sorts ? this.rows : 0);
      if (best === undefined || total < best.total) {
        best = { perWord, skipBits, order: sorts ? order : undefined, starts, total };
      }
    }
    if (best === undefined) throw new RangeError("256 codes fit into a word");
    return best;
  }

  /** Sorts the codes, and gives the values of them. */
  #codebook(): Float32Array<ArrayBuffer> {
    const { functions } = this.instance;
    const at = this.instance.give(4 * 256);
    functions.pack_sort(this.#pairs, at);
    return this.instance.floats(at, this.centroids).slice();
  }

  #pairsTaken(): Uint16Array {
    return new Uint16Array(this.instance.functions.memory.buffer, this.#pairs, this.#count);
  }
}
