// Where packed weights are faster than dense ones in WebAssembly, by what benchmarks/compute.mjs measures.

import type { Packs } from "../network/pack.js";
import type { Weights } from "../network/packed.js";

/** So many dense weights stay in a cache between products: packed ones must be sparser to be faster. */
const CACHED_WEIGHTS = 3 << 20;
/** Densities up to which a fully connected layer is packed, for few centroids and for more. */
const FEW_CENTROIDS = 32;
const DENSITIES = { cached: { few: 0.08, more: 0.04 }, uncached: { few: 0.25, more: 0.12 } } as const;
/** Rows of a convolution are multiplied survivor by survivor up to this density, else they are made dense before. */
const CONV_DENSITY = 0.55;

/** Which weights of so many dimensions are packed, if they have at most 256 centroids. */
export function packsOf(dimensions: number): Packs {
  return (rows, cols, survivors, centroids) => {
    if (dimensions > 2) return true;
    const { few, more } = rows * cols <= CACHED_WEIGHTS ? DENSITIES.cached : DENSITIES.uncached;
    return survivors <= rows * cols * (centroids <= FEW_CENTROIDS ? few : more);
  };
}

/** Whether rows are made dense to be multiplied at many places. */
export function choosesDense(weights: Weights): boolean {
  return weights.kind === "dense" || weights.survivors > CONV_DENSITY * weights.rows * weights.cols;
}
