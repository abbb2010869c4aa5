// Weights in the memory of compute.wasm.

import type { Address, ComputeInstance } from "./compute-instance.js";
import type { Weights } from "./packed.js";

/** Bytes of an entry's meaning in wasm/compute.h. */
const MEANING_BYTES = 8;

/** A copy of weights and bias, as dcz_matrix of wasm/compute.h. */
export interface HeldMatrix {
  readonly address: Address;
  readonly weights: Weights;
  /** Numbers that a vector needs, those behind its end included, which are 0. */
  readonly reach: number;
}

/** Copies weights into the memory of an instance. Throws a DczError "memory". */
export function hold(instance: ComputeInstance, weights: Weights, bias: Float32Array | undefined): HeldMatrix {
  const { functions } = instance;
  const fields = new Uint32Array(12);
  fields.set([weights.rows, weights.cols]);
  if (bias !== undefined) fields[11] = instance.put(bias);
  if (weights.kind === "dense") {
    fields[10] = instance.put(weights.data);
    return { address: instance.put(fields), weights, reach: weights.cols };
  }
  const { perWord, skipBits, words, starts, order, codebook } = weights;
  fields.set([perWord, skipBits, instance.put(words), instance.put(starts)], 2);
  if (order !== undefined) {
    const stored = new Uint32Array(order.length);
    order.forEach((row, at) => {
      stored[row] = at;
    });
    fields.set([instance.put(order), instance.put(stored)], 6);
  }
  // a filler's code is 0, also of a matrix without survivors
  fields[8] = instance.put(codebook.length ? codebook : new Float32Array(1));
  const table = perWord === 2 ? 0 : instance.give(MEANING_BYTES * 2 ** Math.floor(32 / perWord));
  const address = instance.put(fields);
  if (table !== 0) {
    functions.meanings(address, table, codebook.length);
    instance.integers(address, fields.length)[9] = table;
  }
  return { address, weights, reach: functions.reach(address) >>> 0 };
}
