// Fully connected layers in WebAssembly.

import type { Compute, Kernel } from "./compute.js";
import { choosesDense } from "./compute-choice.js";
import type { Address, ComputeInstance } from "./compute-instance.js";
import type { Matrices } from "./compute-matrix.js";
import { type LinearOperation, product } from "./operations.js";

/** Vectors that are multiplied side by side. */
const SIDE_BY_SIDE = 32;
/** Fewer vectors are multiplied one after another. */
const FEW = 3;
/** Places are computed in groups of so many. */
const GROUP = 8;

export function linearKernel(
  instance: ComputeInstance,
  matrices: Matrices,
  { weights, bias }: LinearOperation,
): Kernel {
  const { functions } = instance;
  const { rows, cols } = weights;
  const matrix = matrices.hold(weights, bias);
  const dense = choosesDense(weights);

  const one = (x: Address, y: Address, count: number): void => {
    const vector = instance.give(4 * matrix.reach);
    instance.floats(vector, matrix.reach).fill(0);
    for (let i = 0; i < count; i++) {
      instance.floats(vector, cols).set(instance.floats(x + 4 * i * cols, cols));
      functions.vector(matrix.address, vector, y + 4 * i * rows);
    }
  };

  const many = (x: Address, y: Address, count: number): void => {
    const pitch = Math.min(SIDE_BY_SIDE, Math.ceil(count / GROUP) * GROUP);
    const offsets = instance.give(4 * cols);
    const columns = instance.give(4 * cols * pitch);
    const places = instance.give(4 * rows * pitch);
    const scratch = instance.give(16 * (cols + 1));
    functions.even_offsets(cols, pitch, offsets);
    for (let i = 0; i < count; i += pitch) {
      const some = Math.min(pitch, count - i);
      functions.interleave(x + 4 * i * cols, some, cols, pitch, columns);
      functions.tiles(matrix.address, 0, rows, offsets, columns, some, places, pitch, dense ? 1 : 0, scratch);
      functions.vectors(places, some, rows, pitch, rows, y + 4 * i * rows);
    }
  };

  const compute: Compute = (x, y, shape) => {
    const count = product(shape.slice(0, -1));
    (count <= FEW ? one : many)(x, y, count);
  };
  return { kernel: weights.kind, compute };
}
