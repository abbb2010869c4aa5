// Plans of the layers with weights: fully connected ones and convolutions, from packed or dense weights.

import type { Memory, Plan } from "./gpu-plan.js";
import { type Constants, type KernelName, WORKGROUP } from "./gpu-shaders.js";
import type { DenseMatrix, PackedMatrix } from "./gpu-weights.js";
import { type Axes, axesOf, type ConvOperation, product, windowCounts } from "./operations.js";

/** Weights and bias of a layer on the GPU. */
export interface GpuWeights {
  readonly matrix: PackedMatrix | DenseMatrix;
  readonly bias: Memory;
}

/** Up to so many vectors, threads are rows; from there on they are vectors. */
const FEW_VECTORS = 16;
// Workgroups that fill a GPU.
const MANY_GROUPS = 512;

const packed = (matrix: PackedMatrix | DenseMatrix): matrix is PackedMatrix => "slices" in matrix;

const entryConstants = ({ weights }: PackedMatrix): Constants => ({
  SKIP_BITS: weights.skipBits,
  CODE_BITS: weights.codeBits,
  PER_WORD: weights.perWord,
  ORDERED: weights.order !== undefined,
});

/** x (vectors, cols) times a matrix; the result is (vectors, rows). `activation` are its constants. */
export function planLinear(plan: Plan, given: GpuWeights, x: Memory, vectors: number, activation: Constants): Memory {
  const { rows, cols } = given.matrix.weights;
  const y = plan.activations(vectors * rows);
  if (vectors > FEW_VECTORS) {
    const turned = turn(plan, x, cols, vectors, vectors);
    const offsets = plan.numbers(Uint32Array.from({ length: cols }, (_, col) => col * vectors));
    const image = { volume: vectors, plane: vectors, width: vectors, x_image: 0, x_plane: 0, x_line: 0, x_pixel: 1 };
    const places = { ...image, group_rows: rows, x_group: 0, y_image: 0, y_row: 1, y_pixel: rows };
    planPixels(plan, given, turned, offsets, y, { ...places, cols, pixels: vectors }, 1, activation);
    plan.release(turned);
    return y;
  }
  if (!packed(given.matrix)) {
    const count = [1, 4, 8].find((most) => vectors <= most) ?? FEW_VECTORS;
    const kernel = plan.kernel("dense_rows", { VECTORS: count, ...activation });
    for (const { matrix, firstRow, endRow } of given.matrix.pieces) {
      const sizes = { cols, quads: Math.ceil(cols / 4), rows, first_row: firstRow, end_row: endRow, vectors };
      plan.dispatch(kernel, [x, matrix, given.bias, y], sizes, endRow - firstRow);
    }
    return y;
  }
  const lanes = vectors === 1 ? 1 : ([1, 2].find((most) => vectors <= 4 * most) ?? 4);
  const name: KernelName = vectors === 1 ? "packed_rows_one" : "packed_rows_four";
  const turned = vectors === 1 ? x : turn(plan, x, cols, vectors, 4 * lanes);
  const { pieces, slices, order, codebook } = given.matrix;
  const kernel = plan.kernel(name, { ...entryConstants(given.matrix), SLICES: slices, LANES: lanes, ...activation });
  for (const { words, starts, columns, firstRow, endRow, blocks } of pieces) {
    const sizes = { cols, rows, first_row: firstRow, end_row: endRow, blocks, vectors, lanes };
    plan.dispatch(kernel, [turned, words, starts, columns, order, codebook, given.bias, y], sizes, blocks);
  }
  if (turned !== x) plan.release(turned);
  return y;
}

/** (vectors, cols) -> (cols, wanted), with zeros for the vectors that are wanted and not there. */
function turn(plan: Plan, x: Memory, cols: number, vectors: number, wanted: number): Memory {
  const count = cols * wanted;
  const turned = plan.activations(count);
  planCopy(plan, x, turned, {
    y: [1, 1, cols, wanted],
    x: [1, 1, cols, vectors],
    steps: [0, 0, 1, cols],
    before: [0, 0, 0],
  });
  return turned;
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
  activation: Constants,
): Memory {
  const { window, groups } = operation;
  const { rows, cols } = given.matrix.weights;
  const [images, channels] = [shape[0] ?? 0, shape[1] ?? 0];
  const extents = axesOf(shape);
  const [depths, heights, widths] = windowCounts(window, extents);
  const padded: Axes = [0, 1, 2].map(
    (axis) => (extents[axis] ?? 1) + 2 * (window.padding[axis] ?? 0),
  ) as unknown as Axes;
  const [depth, height, width] = padded;
  const images_ = window.padding.some((zeros) => zeros > 0)
    ? pad(plan, x, images * channels, extents, window.padding, padded)
    : x;
  const channel = depth * height * width;
  const [stride, spread] = [window.stride, window.dilation];
  const volume = depths * heights * widths;
  const y = plan.activations(images * rows * volume);
  const offsets = new Uint32Array(cols);
  const [, kernelHeight, kernelWidth] = window.kernel;
  const taps = product(window.kernel);
  for (let col = 0; col < cols; col += 1) {
    const tap = col % taps;
    const at = Math.floor(tap / kernelWidth);
    const plane = Math.floor(at / kernelHeight) * spread[0] * height * width;
    const line = (at % kernelHeight) * spread[1] * width;
    offsets[col] = Math.floor(col / taps) * channel + plane + line + (tap % kernelWidth) * spread[2];
  }
  const sizes = {
    cols,
    group_rows: rows / groups,
    x_group: (channels / groups) * channel,
    pixels: images * volume,
    volume,
    plane: heights * widths,
    width: widths,
    x_image: channels * channel,
    x_plane: stride[0] * height * width,
    x_line: stride[1] * width,
    x_pixel: stride[2],
    y_image: rows * volume,
    y_row: volume,
    y_pixel: 1,
  };
  planPixels(plan, given, images_, plan.numbers(offsets), y, sizes, groups, activation);
  if (images_ !== x) plan.release(images_);
  return y;
}

function pad(plan: Plan, x: Memory, planes: number, extents: Axes, before: Axes, padded: Axes): Memory {
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
  activation: Constants,
): void {
  const { matrix, bias } = given;
  const { pixels, group_rows: groupRows } = sizes;
  if (packed(matrix)) {
    const each = pixelsAThread(matrix.weights.rows, pixels);
    const kernel = plan.kernel("packed_pixels", { ...entryConstants(matrix), PIXELS: each, ...activation });
    const tiles = Math.ceil(pixels / (WORKGROUP * each));
    for (const { words, starts, firstRow, endRow } of matrix.pieces) {
      const bindings = [x, words, starts, offsets, matrix.order, matrix.codebook, bias, y];
      plan.dispatch(
        kernel,
        bindings,
        { ...sizes, tiles, first_row: firstRow, end_row: endRow },
        tiles * (endRow - firstRow),
      );
    }
    return;
  }
  const side = (groups * Math.ceil(groupRows / 64) * pixels) / 64 >= MANY_GROUPS ? 64 : 32;
  const kernel = plan.kernel("dense_tiles", { TILE: side, ...activation });
  const tiles = Math.ceil(pixels / side);
  for (const { matrix: part, firstRow, endRow } of matrix.pieces) {
    const rows = Math.min(groupRows, endRow - firstRow);
    const rowTiles = ((endRow - firstRow) / rows) * Math.ceil(rows / side);
    plan.dispatch(
      kernel,
      [x, part, offsets, bias, y],
      { ...sizes, tiles, first_row: firstRow, end_row: endRow },
      tiles * rowTiles,
    );
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
