// One instance of compute.wasm: its functions as wasm/compute_*.c describe them, and its memory as a stack.

import { DczError } from "../errors.js";
import { compiled, instantiate } from "../wasm.js";

const PAGE_BYTES = 65536;
/** What 32-bit addresses reach, less a page, so that sums of addresses and sizes stay below 2^32. */
const LIMIT_BYTES = 2 ** 32 - PAGE_BYTES;

/** An address in the memory. */
export type Address = number;

/** The functions of compute.wasm. Numbers are addresses, counts, or as named. */
export interface ComputeFunctions {
  readonly memory: WebAssembly.Memory;
  heap(): Address;
  pack_begin(cols: number): void;
  pack_slice(weights: Address, count: number, pairs: Address, starts: Address): number;
  pack_survivors(): number;
  pack_distinct(): number;
  pack_sort(pairs: Address, codebook: Address): void;
  pack_measure(pairs: Address, starts: Address, rows: number, perWord: number, skipBits: number, words: Address): void;
  pack_row(pairs: Address, end: Address, perWord: number, skipBits: number, out: Address, words: number): void;
  meanings(matrix: Address, table: Address, codes: number): void;
  reach(matrix: Address): number;
  products(matrix: Address, x: Address, count: number, pitch: number, y: Address): void;
  tiles(
    matrix: Address,
    from: number,
    to: number,
    offsets: Address,
    x: Address,
    places: number,
    y: Address,
    pitch: number,
    dense: number,
    scratch: Address,
  ): void;
  spread(images: Address, x: Address, out: Address): void;
  image_offsets(images: Address, channels: number, offsets: Address): void;
  gather(
    images: Address,
    places: Address,
    pitch: number,
    depth: number,
    height: number,
    width: number,
    channels: number,
    y: Address,
  ): void;
  side_by_side(matrix: Address, x: Address, width: number, count: number, y: Address): void;
  interleave(x: Address, count: number, cols: number, width: number, reach: number, out: Address): void;
  pool(pools: Address, average: number, x: Address, y: Address): void;
  adaptive_pool(
    channels: number,
    height: number,
    width: number,
    outHeight: number,
    outWidth: number,
    x: Address,
    y: Address,
  ): void;
  relu(x: Address, y: Address, count: number): void;
  leaky_relu(slope: number, x: Address, y: Address, count: number): void;
  sigmoid(x: Address, y: Address, count: number): void;
  tanh(x: Address, y: Address, count: number): void;
  scale(factor: Address, term: Address, x: Address, y: Address, channels: number, plane: number): void;
  softmax(x: Address, y: Address, outer: number, count: number, inner: number): void;
}

/** Memory is given upwards; what was given since a `mark` is freed by `release`. */
export class ComputeInstance {
  readonly functions: ComputeFunctions;
  #top: Address;

  private constructor(module: WebAssembly.Module) {
    this.functions = instantiate(module) as unknown as ComputeFunctions;
    this.#top = Math.ceil((this.functions.heap() >>> 0) / 16) * 16;
  }

  static async create(): Promise<ComputeInstance> {
    return new ComputeInstance(await compiled(new URL("../compute.wasm", import.meta.url)));
  }

  get memoryBytes(): number {
    return this.functions.memory.buffer.byteLength;
  }

  /** The end of what is given. */
  get mark(): Address {
    return this.#top;
  }

  release(mark: Address): void {
    this.#top = mark;
  }

  /** Gives memory, at a multiple of 16. Throws a DczError "memory" if there is none. */
  give(bytes: number): Address {
    const at = this.#top;
    const top = at + Math.ceil(bytes / 16) * 16;
    const pages = Math.ceil((top - this.memoryBytes) / PAGE_BYTES);
    try {
      if (top > LIMIT_BYTES) throw new RangeError("WebAssembly addresses 4 GiB");
      if (pages > 0) this.functions.memory.grow(pages);
    } catch (cause) {
      const message = `no memory for ${bytes} bytes more than the ${at} at hand: ${String(cause)}`;
      throw new DczError("memory", `${message}. Run fewer inputs at a time, or free memory.`, { cause });
    }
    this.#top = top;
    return at;
  }

  /** Gives memory that begins with a copy of an array, and ends with so many bytes more. */
  put(array: Float32Array | Uint32Array, more = 0): Address {
    const at = this.give(array.byteLength + more);
    if (array instanceof Float32Array) this.floats(at, array.length).set(array);
    else this.integers(at, array.length).set(array);
    return at;
  }

  /** Numbers in the memory, as long as it does not grow. */
  floats(at: Address, length: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.functions.memory.buffer as ArrayBuffer, at, length);
  }

  integers(at: Address, length: number): Uint32Array<ArrayBuffer> {
    return new Uint32Array(this.functions.memory.buffer as ArrayBuffer, at, length);
  }
}
