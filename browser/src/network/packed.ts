// Weights in memory: packed, as the kernels of WebAssembly and WebGPU read them, or dense.

import type { Entry } from "../types.js";

/*
 * A matrix of rows x cols (the first axis, and the others together) with at most 256 distinct survivors.
 *
 *   entry   bits = skipBits + codeBits: code << skipBits | skip
 *           skip 0 .. 2^skipBits - 2: a survivor of weight codebook[code], behind so many zeros
 *           skip 2^skipBits - 1:      a filler: 2^skipBits - 1 zeros, no survivor; its code is 0
 *           So column += min(skip + 1, 2^skipBits - 1) for every entry. A row begins at column -1.
 *   word    u32 of perWord = floor(32 / bits) entries, the first in the lowest bits; the highest bits may be unused
 *   block   32 rows; words of the k-th column of words lie together: words[starts[block] + 32 * k + row % 32].
 *           Rows with fewer words are filled up with fillers, and so is the last block with rows of fillers.
 *   order   order[r] is the row of the matrix that is stored as the r-th; without it, r itself
 *
 * Fillers at the end of a row reach columns behind the last one: kernels take column cols - 1 for them, with weight 0.
 * `bits` is the largest that leaves perWord as it is, out of those whose words are fewest.
 */

/** Rows of a block. */
export const BLOCK_ROWS = 32;

/** What a matrix is packed from: the part of an open file that packing needs. */
export interface WeightSource {
  readonly entries: ReadonlyMap<string, Entry>;
  /**
   * The dense bytes of tensors, little-endian, piece by piece in C order, in the order of the file. A piece holds whole
   * elements, of one tensor.
   */
  slices(names: string | readonly string[], options?: { readonly signal?: AbortSignal }): AsyncIterable<Uint8Array>;
}

/** The parts of `Packed`. */
export interface PackedParts {
  readonly shape: readonly number[];
  readonly skipBits: number;
  readonly codeBits: number;
  readonly words: Uint32Array<ArrayBuffer>;
  readonly starts: Uint32Array<ArrayBuffer>;
  readonly order: Uint32Array<ArrayBuffer> | undefined;
  readonly codebook: Float32Array<ArrayBuffer>;
  readonly survivors: number;
}

/** A matrix of shared weights, compressed in memory; the layout stands at the top of this file. */
export class Packed implements PackedParts {
  readonly kind = "packed";
  readonly shape: readonly number[];
  readonly rows: number;
  readonly cols: number;
  readonly skipBits: number;
  readonly codeBits: number;
  /** Entries a word. */
  readonly perWord: number;
  readonly words: Uint32Array<ArrayBuffer>;
  readonly starts: Uint32Array<ArrayBuffer>;
  readonly order: Uint32Array<ArrayBuffer> | undefined;
  readonly codebook: Float32Array<ArrayBuffer>;
  readonly survivors: number;

  constructor(parts: PackedParts) {
    this.shape = parts.shape;
    [this.rows, this.cols] = matrixOf(parts.shape);
    this.skipBits = parts.skipBits;
    this.codeBits = parts.codeBits;
    this.perWord = Math.floor(32 / (parts.skipBits + parts.codeBits));
    this.words = parts.words;
    this.starts = parts.starts;
    this.order = parts.order;
    this.codebook = parts.codebook;
    this.survivors = parts.survivors;
  }

  /** The same without its arrays, for what asks shapes alone. */
  outline(): Packed {
    const none = { words: new Uint32Array(0), starts: new Uint32Array(0), order: undefined };
    return new Packed({ ...this, ...none, codebook: new Float32Array(0) });
  }

  /** Bytes of all its arrays. */
  get bytes(): number {
    const order = this.order?.byteLength ?? 0;
    return this.words.byteLength + this.starts.byteLength + order + this.codebook.byteLength;
  }
}

/** A matrix of float32 weights, row by row. */
export class Dense {
  readonly kind = "dense";
  readonly rows: number;
  readonly cols: number;
  constructor(
    readonly shape: readonly number[],
    readonly data: Float32Array<ArrayBuffer>,
  ) {
    [this.rows, this.cols] = matrixOf(shape);
  }

  /** The same without its array, for what asks shapes alone. */
  outline(): Dense {
    return new Dense(this.shape, new Float32Array(0));
  }

  get survivors(): number {
    return this.data.reduce((count, weight) => count + (weight === 0 ? 0 : 1), 0);
  }

  get bytes(): number {
    return this.data.byteLength;
  }
}

export type Weights = Packed | Dense;

/** Rows and columns of a tensor as a matrix: the first axis, and all others together. */
export function matrixOf(shape: readonly number[]): [rows: number, cols: number] {
  return [shape[0] ?? 1, shape.slice(1).reduce((product, length) => product * length, 1)];
}
