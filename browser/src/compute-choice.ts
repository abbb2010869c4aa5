// Where packed weights are faster than dense ones, as measured by benchmarks/compute.mjs.

import type { Packs } from "./pack.js";
import type { Weights } from "./packed.js";

/** Fully connected layers are packed up to this density; small ones, which a cache holds dense, up to the other. */
const LINEAR_DENSITY = 0.25;
const SMALL_DENSITY = 0.1;
const SMALL_WEIGHTS = 1 << 18;
/** Rows of a convolution are multiplied survivor by survivor up to this density. */
const CONV_DENSITY = 0.6;

/** Which weights of so many dimensions are packed, if their distinct survivors allow it. */
export function packsOf(dimensions: number): Packs {
  return (rows, cols, survivors) => {
    if (dimensions > 2) return true;
    const weights = rows * cols;
    return survivors <= weights * (weights <= SMALL_WEIGHTS ? SMALL_DENSITY : LINEAR_DENSITY);
  };
}

/** Whether rows are made dense to be multiplied at many places. */
export function choosesDense(weights: Weights): boolean {
  return weights.kind === "dense" || weights.survivors > CONV_DENSITY * weights.rows * weights.cols;
}
