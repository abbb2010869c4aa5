// Plans of the layers with weights: fully connected ones and convolutions, from packed or dense weights.

import { type Axes, axesOf, type ConvOperation, product, type Window, windowCounts } from "../network/operations.js";
import { type Constants, type KernelName, WORKGROUP } from "./kernels.js";
import type { Memory, Plan } from "./plan.js";
import type { DenseMatrix, PackedMatrix } from "./weights.js";

/** Weights and bias of a layer on the GPU. */
export interface GpuWeights {
  readonly matrix: PackedMatrix | DenseMatrix;
  readonly bias: Memory;
}

/** What activate.wgsl reads. */
export interface Activation {
  readonly activation: number;
  readonly slope: number;
}

/** Up to so many vectors, threads are rows; from there on they are vectors. */
const FEW_VECTORS = 16;
// Workgroups that fill a GPU.
const MANY_GROUPS = 512;
const MANY_TILES = 128;

const packed = (matrix: PackedMatrix | DenseMatrix): matrix is PackedMatrix => "parts" in matrix;

const ordered = ({ weights }: PackedMatrix) => Number(weights.order !== undefined);

const entryConstants = ({ weights }: PackedMatrix): Constants => ({
  SKIP_BITS: weights.skipBits,
  CODE_BITS: weights.codeBits,
  PER_WORD: weights.perWord,
});

/** x (vectors, cols) times a matrix; the result is (vectors, rows). */
export function planLinear(plan: Plan, given: GpuWeights, x: Memory, vectors: number, activation: Activation): Memory {
  const { matrix } = given;
  const y = plan.activations(vectors * matrix.weights.rows);
  if (vectors > FEW_VECTORS) planManyVectors(plan, given, x, y, vectors, activation);
  else if (packed(matrix)) planPackedRows(plan, matrix, given.bias, x, y, vectors, activation);
  else planDenseRows(plan, matrix, given.bias, x, y, vectors, activation);
  return y;
}

function planPackedRows(
  plan: Plan,
  matrix: PackedMatrix,
  bias: Memory,
  x: Memory,
  y: Memory,
  vectors: number,
  activation: Activation,
): void {
  const { rows, cols } = matrix.weights;
  const bundles = vectors === 1 ? 1 : ([1, 2].find((most) => vectors <= 4 * most) ?? 4);
  const transposed = vectors === 1 ? x : transpose(plan, x, cols, vectors, 4 * bundles);
  const name: KernelName = vectors === 1 ? "packed_rows_one" : "packed_rows_four";
  const kernel = plan.kernel(name, { ...entryConstants(matrix), PARTS: matrix.parts, BUNDLES: bundles });
  for (const { words, starts, columns, firstRow, endRow, blocks } of matrix.pieces) {
    const bindings = [transposed, words, starts, columns, matrix.order, matrix.codebook, bias, y];
    const part = { first_row: firstRow, end_row: endRow, blocks };
    const sizes = { ...part, cols, rows, vectors, bundles, ordered: ordered(matrix), ...activation };
    plan.dispatch(kernel, bindings, sizes, blocks);
  }
  if (transposed !== x) plan.release(transposed);
}

function planDenseRows(
  plan: Plan,
  { weights, pieces }: DenseMatrix,
  bias: Memory,
  x: Memory,
  y: Memory,
  vectors: number,
  activation: Activation,
): void {
  const { rows, cols } = weights;
  const kernel = plan.kernel("dense_rows", { VECTORS: [1, 4, 8].find((most) => vectors <= most) ?? FEW_VECTORS });
  for (const { matrix, firstRow, endRow } of pieces) {
    const part = { first_row: firstRow, end_row: endRow };
    const sizes = { ...part, cols, quads: Math.ceil(cols / 4), rows, vectors, ...activation };
    plan.dispatch(kernel, [x, matrix, bias, y], sizes, endRow - firstRow);
  }
}

/** Vectors are the pixels of one image, whose channels are the columns. */
function planManyVectors(
  plan: Plan,
  given: GpuWeights,
  x: Memory,
  y: Memory,
  vectors: number,
  activation: Activation,
): void {
  const { rows, cols } = given.matrix.weights;
  const transposed = transpose(plan, x, cols, vectors, vectors);
  const offsets = plan.numbers(Uint32Array.from({ length: cols }, (_, col) => col * vectors));
  const image = { volume: vectors, plane: vectors, width: vectors, x_image: 0, x_plane: 0, x_line: 0, x_pixel: 1 };
  const output = { y_image: 0, y_row: 1, y_pixel: rows, group_rows: rows, x_group: 0 };
  planPixels(plan, given, transposed, offsets, y, { ...image, ...output, cols, pixels: vectors, ...activation }, 1);
  plan.release(transposed);
}

/** (vectors, cols) -> (cols, wanted), with zeros for the vectors that are wanted and not there. */
function transpose(plan: Plan, x: Memory, cols: number, vectors: number, wanted: number): Memory {
  const count = cols * wanted;
  const transposed = plan.activations(count);
  planCopy(plan, x, transposed, {
    y: [1, 1, cols, wanted],
    x: [1, 1, cols, vectors],
    steps: [0, 0, 1, cols],
    before: [0, 0, 0],
  });
  return transposed;
}

type Four = readonly [number, number, number, number];

/** Four axes: extents of y and x along the axes of y, elements of x from place to place, zeros in front (last three). */
interface Layout {
  readonly y: Four;
  readonly x: Four;
  readonly steps: Four;
  readonly before: Axes;
}

/** Copies x to y in another layout, and as another type if `types` say so. */
export function planCopy(
  plan: Plan,
  x: Memory,
  y: Memory,
  layout: Layout,
  types?: { From: "f32" | "f16"; To: "f32" | "f16" },
) {
  const real = plan.traits.f16 ? "f16" : "f32";
  const kernel = plan.kernel("copy", {}, types ?? { From: real, To: real });
  const count = product(layout.y);
  const [, y1, y2, y3] = layout.y;
  const [x0, x1, x2, x3] = layout.x;
  const [step0, step1, step2, step3] = layout.steps;
  const [before1, before2, before3] = layout.before;
  const sizes = { count, y1, y2, y3, x0, x1, x2, x3, step0, step1, step2, step3, before1, before2, before3 };
  plan.dispatch(kernel, [x, y], sizes, Math.ceil(count / WORKGROUP));
}

/** A convolution of images of `shape`; its output has `windowCounts` pixels an image. */
export function planConv(
  plan: Plan,
  given: GpuWeights,
  operation: ConvOperation,
  x: Memory,
  shape: readonly number[],
  activation: Activation,
): Memory {
  const { window, groups } = operation;
  const { rows, cols } = given.matrix.weights;
  const [images, channels] = [shape[0] ?? 0, shape[1] ?? 0];
  const extents = axesOf(shape);
  const [depths, heights, widths] = windowCounts(window, extents);
  const padded = window.padding.some((zeros) => zeros > 0);
  const [depth, height, width] = padded ? paddedExtents(extents, window.padding) : extents;
  const source = padded ? pad(plan, x, images * channels, extents, window.padding) : x;
  const channel = depth * height * width;
  const volume = depths * heights * widths;
  const y = plan.activations(images * rows * volume);
  const sizes = {
    cols,
    group_rows: rows / groups,
    x_group: (channels / groups) * channel,
    pixels: images * volume,
    volume,
    plane: heights * widths,
    width: widths,
    x_image: channels * channel,
    x_plane: window.stride[0] * height * width,
    x_line: window.stride[1] * width,
    x_pixel: window.stride[2],
    y_image: rows * volume,
    y_row: volume,
    y_pixel: 1,
    ...activation,
  };
  planPixels(plan, given, source, plan.numbers(offsetsOf(window, cols, [depth, height, width])), y, sizes, groups);
  if (padded) plan.release(source);
  return y;
}

/** How far each column's element of an image lies behind the first element of its window. */
function offsetsOf({ kernel, dilation }: Window, cols: number, [depth, height, width]: Axes): Uint32Array<ArrayBuffer> {
  const taps = product(kernel);
  return Uint32Array.from({ length: cols }, (_, col) => {
    const tap = col % taps;
    const line = Math.floor(tap / kernel[2]);
    const plane = Math.floor(line / kernel[1]) * dilation[0];
    const of = (plane * height + (line % kernel[1]) * dilation[1]) * width + (tap % kernel[2]) * dilation[2];
    return Math.floor(col / taps) * depth * height * width + of;
  });
}

const paddedExtents = ([depth, height, width]: Axes, padding: Axes): Axes => [
  depth + 2 * padding[0],
  height + 2 * padding[1],
  width + 2 * padding[2],
];

function pad(plan: Plan, x: Memory, planes: number, extents: Axes, before: Axes): Memory {
  const padded = paddedExtents(extents, before);
  const y = plan.activations(planes * product(padded));
  const [depth, height, width] = extents;
  const steps: Four = [depth * height * width, height * width, width, 1];
  planCopy(plan, x, y, { y: [planes, ...padded], x: [planes, ...extents], steps, before });
  return y;
}

/** Windows times rows: `sizes` are those of pixels.wgsl but for what depends on the piece and the tiles. */
function planPixels(
  plan: Plan,
  given: GpuWeights,
  x: Memory,
  offsets: Memory,
  y: Memory,
  sizes: Readonly<Record<string, number>> & { readonly pixels: number; readonly group_rows: number },
  groups: number,
): void {
  const { matrix, bias } = given;
  const { pixels, group_rows: groupRows } = sizes;
  if (packed(matrix)) {
    const each = pixelsAThread(matrix.weights.rows, pixels);
    const kernel = plan.kernel("packed_pixels", { ...entryConstants(matrix), PIXELS: each });
    const tiles = Math.ceil(pixels / (WORKGROUP * each));
    for (const { words, starts, firstRow, endRow } of matrix.pieces) {
      const bindings = [x, words, starts, offsets, matrix.order, matrix.codebook, bias, y];
      const part = { tiles, first_row: firstRow, end_row: endRow, ordered: ordered(matrix) };
      plan.dispatch(kernel, bindings, { ...sizes, ...part }, tiles * (endRow - firstRow));
    }
    return;
  }
  const side = (groups * Math.ceil(groupRows / 64) * pixels) / 64 >= MANY_TILES ? 64 : 32;
  const kernel = plan.kernel("dense_tiles", { TILE: side });
  const tiles = Math.ceil(pixels / side);
  for (const { matrix: rowsOfPiece, firstRow, endRow } of matrix.pieces) {
    const rows = Math.min(groupRows, endRow - firstRow);
    const rowTiles = ((endRow - firstRow) / rows) * Math.ceil(rows / side);
    const part = { tiles, first_row: firstRow, end_row: endRow, ordered: 0 };
    plan.dispatch(kernel, [x, rowsOfPiece, offsets, bias, y], { ...sizes, ...part }, tiles * rowTiles);
  }
}

/** More pixels a thread save decoding, where enough workgroups are left and few threads go empty. */
function pixelsAThread(rows: number, pixels: number): number {
  const wide = [4, 2].find((each) => {
    const tiles = Math.ceil(pixels / (WORKGROUP * each));
    return rows * tiles >= MANY_GROUPS && tiles * WORKGROUP * each <= 1.25 * pixels;
  });
  return wide ?? 1;
}
