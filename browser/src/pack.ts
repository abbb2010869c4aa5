// Packs a tensor of an open file, slice by slice: the dense tensor is never whole in memory.

import { DczError } from "./errors.js";
import type { WeightSource, Weights } from "./packed.js";

/** Whether a matrix with so many survivors is packed, or dense. */
export type Packs = (rows: number, cols: number, survivors: number) => boolean;

/**
 * The weights of a tensor of F64, F32, F16 or BF16, as float32. Dense if it has more than 256 distinct survivors, or
 * if `packs` says so. Throws DczError "not-found", "memory", and whatever reading throws.
 */
export async function pack(_file: WeightSource, name: string, _packs: Packs = () => true): Promise<Weights> {
  throw new DczError("unsupported", `${name}: packing is not there yet`);
}
