// Fully connected layers in WebAssembly.

import { type LinearOperation, product } from "../network/operations.js";
import type { Compute, Kernel } from "./backend.js";
import type { Address, ComputeInstance } from "./instance.js";
import type { Matrices } from "./matrix.js";

/** Products with vectors at `x`, to `y`. */
type Product = (x: Address, y: Address, count: number) => void;

/** Numbers of vectors that are multiplied side by side. */
const WIDTHS = [4, 8, 16] as const;

export function linearKernel(
  instance: ComputeInstance,
  matrices: Matrices,
  { weights, bias }: LinearOperation,
): Kernel {
  const { functions } = instance;
  const { rows, cols, kind } = weights;
  const { address, reach } = matrices.hold(weights, bias);

  /** Vectors with the zeros behind them that fillers reach. */
  const oneByOne: Product = (x, y, count) => {
    const vectors = instance.give(4 * reach * count);
    for (let i = 0; i < count; i++) {
      const vector = instance.floats(vectors + 4 * i * reach, reach);
      vector.set(instance.floats(x + 4 * i * cols, cols));
      vector.fill(0, cols);
    }
    functions.products(address, vectors, count, reach, y);
  };

  const sideBySide: Product = (x, y, count) => {
    const most = WIDTHS[2];
    const columns = instance.give(4 * reach * most);
    for (let i = 0; i < count; i += most) {
      const some = Math.min(most, count - i);
      const width = WIDTHS.find((number) => number >= some) ?? most;
      functions.interleave(x + 4 * i * cols, some, cols, width, reach, columns);
      functions.side_by_side(address, columns, width, some, y + 4 * i * rows);
    }
  };

  const compute: Compute = (x, y, shape) => {
    const count = product(shape.slice(0, -1));
    if (kind === "dense") functions.products(address, x, count, cols, y);
    else (count < 2 ? oneByOne : sideBySide)(x, y, count);
  };
  return { kernel: kind, compute };
}
