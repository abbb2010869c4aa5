// Weights as a GPU holds them: in pieces that one binding can have.

import { DczError } from "../errors.js";
import { BLOCK_ROWS, type Dense, type Packed } from "../network/packed.js";
import { type GpuTraits, Memory } from "./plan.js";

/** Some rows of a matrix, from `firstRow` to before `endRow`. */
interface Piece {
  readonly firstRow: number;
  readonly endRow: number;
}

interface PackedPiece extends Piece {
  readonly blocks: number;
  readonly words: Memory;
  readonly starts: Memory;
  /** The column in front of each part of words of a row: [block][part][row of the block]. */
  readonly columns: Memory;
}

export interface PackedMatrix {
  readonly weights: Packed;
  readonly pieces: readonly PackedPiece[];
  readonly codebook: Memory;
  readonly order: Memory;
  /** Into how many parts the words of a row are divided, each for a thread. */
  readonly parts: number;
  readonly memories: readonly Memory[];
}

interface DensePiece extends Piece {
  readonly matrix: Memory;
}

export interface DenseMatrix {
  readonly weights: Dense;
  readonly pieces: readonly DensePiece[];
  readonly memories: readonly Memory[];
}

// Enough threads to fill a GPU, and enough words for each.
const MANY_THREADS = 1 << 15;
const PART_WORDS = 8;
const MOST_PARTS = 8;

/** The number of parts, a power of two, for rows of so many words. */
function partsFor(rows: number, rowWords: number): number {
  let parts = 1;
  while (parts < MOST_PARTS && rows * parts < MANY_THREADS && rowWords >= 2 * parts * PART_WORDS) parts *= 2;
  return parts;
}

/** The column in front of each part of the rows of some blocks; 2^32 - 1 stands for -1. */
function partColumns(packed: Packed, firstBlock: number, endBlock: number, parts: number) {
  const columns = new Uint32Array((endBlock - firstBlock) * parts * BLOCK_ROWS);
  const mask = 2 ** packed.skipBits - 1;
  const bits = packed.skipBits + packed.codeBits;
  const reached = new Uint32Array(BLOCK_ROWS);
  for (let block = firstBlock; block < endBlock; block += 1) {
    const start = packed.starts[block] ?? 0;
    const rowWords = ((packed.starts[block + 1] ?? 0) - start) / BLOCK_ROWS;
    const partWords = Math.max(1, Math.ceil(rowWords / parts));
    reached.fill(0xffffffff);
    for (let k = 0; k < parts * partWords; k += 1) {
      if (k % partWords === 0) {
        columns.set(reached, ((block - firstBlock) * parts + k / partWords) * BLOCK_ROWS);
      }
      if (k >= rowWords) continue;
      for (let row = 0; row < BLOCK_ROWS; row += 1) {
        const word = packed.words[start + k * BLOCK_ROWS + row] ?? 0;
        let length = 0;
        for (let i = 0; i < packed.perWord; i += 1) length += Math.min(((word >>> (i * bits)) & mask) + 1, mask);
        reached[row] = (reached[row] ?? 0) + length;
      }
    }
  }
  return columns;
}

function tooWide(rows: string, bytes: number, traits: GpuTraits): DczError {
  const limit = `maxStorageBufferBindingSize is ${traits.bindingBytes}`;
  return new DczError("size", `${rows} take ${bytes} bytes, but the GPU's ${limit}; run this layer on "wasm"`);
}

/** `withParts`: for products with few vectors, which divide rows into parts. */
export function placePacked(packed: Packed, traits: GpuTraits, withParts: boolean): PackedMatrix {
  const blocks = packed.starts.length - 1;
  const start = (block: number) => packed.starts[block] ?? 0;
  const parts = withParts ? partsFor(packed.rows, start(blocks) / Math.max(1, blocks * BLOCK_ROWS)) : 1;
  const pieces: PackedPiece[] = [];
  for (let first = 0; first < blocks; ) {
    let end = first + 1;
    while (end < blocks && 4 * (start(end + 1) - start(first)) <= traits.bindingBytes) end += 1;
    const words = packed.words.subarray(start(first), start(end));
    if (words.byteLength > traits.bindingBytes) throw tooWide("32 rows of packed weights", words.byteLength, traits);
    pieces.push({
      firstRow: first * BLOCK_ROWS,
      endRow: Math.min(packed.rows, end * BLOCK_ROWS),
      blocks: end - first,
      words: Memory.of(words),
      starts: Memory.of(packed.starts.slice(first, end + 1).map((word) => word - start(first))),
      columns: Memory.of(withParts ? partColumns(packed, first, end, parts) : new Uint32Array(0)),
    });
    first = end;
  }
  const codebook = Memory.of(packed.codebook);
  const order = Memory.of(packed.order ?? new Uint32Array(1));
  const ofPieces = pieces.flatMap(({ words, starts, columns }) =>
    withParts ? [words, starts, columns] : [words, starts],
  );
  return { weights: packed, pieces, codebook, order, parts, memories: [codebook, order, ...ofPieces] };
}

/** Rows of numbers, filled up to `stride` numbers with zeros, as float32 or float16. */
function denseRows(dense: Dense, firstRow: number, endRow: number, stride: number, f16: boolean) {
  const { cols, data } = dense;
  if (stride === cols && !f16) return data.subarray(firstRow * cols, endRow * cols);
  const rows = f16 ? new Uint16Array((endRow - firstRow) * stride) : new Float32Array((endRow - firstRow) * stride);
  for (let row = firstRow; row < endRow; row += 1) {
    const numbers = data.subarray(row * cols, (row + 1) * cols);
    rows.set(f16 ? halves(numbers) : numbers, (row - firstRow) * stride);
  }
  return rows;
}

/** Rows lie in one piece with those of their `unit`: of their group of channels. */
export function placeDense(dense: Dense, traits: GpuTraits, unit: number): DenseMatrix {
  const stride = 4 * Math.ceil(dense.cols / 4);
  const rowBytes = stride * (traits.f16 ? 2 : 4);
  const rows = unit * Math.floor(traits.bindingBytes / Math.max(1, unit * rowBytes));
  if (rows === 0) throw tooWide(`${unit} rows of weights`, unit * rowBytes, traits);
  const pieces: DensePiece[] = [];
  for (let firstRow = 0; firstRow < dense.rows; firstRow += rows) {
    const endRow = Math.min(dense.rows, firstRow + rows);
    pieces.push({ firstRow, endRow, matrix: Memory.of(denseRows(dense, firstRow, endRow, stride, traits.f16)) });
  }
  return { weights: dense, pieces, memories: pieces.map(({ matrix }) => matrix) };
}

/** The bits of the nearest float16 of each number (ties to even). */
export function halves(numbers: Float32Array): Uint16Array {
  const bits = new Uint32Array(numbers.slice().buffer);
  return Uint16Array.from(bits, (one, i) => {
    const sign = (one >>> 16) & 0x8000;
    const exponent = (one >>> 23) & 0xff;
    if (exponent === 0xff) return sign | 0x7c00 | (one & 0x7fffff ? 0x200 : 0);
    // below 2^-14 a float16 counts units of 2^-24
    if (exponent < 113) return sign | roundEven(Math.abs(numbers[i] ?? 0) * 2 ** 24);
    const rounded = roundEven((one & 0x7fffffff) / 8192) - (112 << 10);
    return sign | Math.min(rounded, 0x7c00);
  });
}

function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0);
}
