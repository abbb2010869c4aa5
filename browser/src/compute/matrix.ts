// Weights in the memory of compute.wasm.

import type { Weights } from "../network/packed.js";
import type { Address, ComputeInstance } from "./instance.js";

/** Bytes of an entry's meaning in wasm/compute.h. */
const MEANING_BYTES = 8;

/** A copy of weights and bias, as dcz_matrix of wasm/compute.h. */
interface HeldMatrix {
  readonly address: Address;
  readonly weights: Weights;
  /** Numbers that a vector needs, those behind its end included, which are 0. */
  readonly reach: number;
}

/** Where the parts of dcz_matrix lie that follow from the weights, without the bias. */
type Fields = Uint32Array<ArrayBuffer>;

const TABLE = 9;
const DENSE = 10;
const BIAS = 11;

/** The matrices of one instance; tied weights, and those of a layer that runs twice, are held once. */
export class Matrices {
  readonly #held = new WeakMap<Weights, Fields>();

  constructor(private readonly instance: ComputeInstance) {}

  /** Copies weights and bias. Throws a DczError "memory". */
  hold(weights: Weights, bias: Float32Array | undefined): HeldMatrix {
    const { instance } = this;
    const known = this.#held.get(weights);
    const fields = known?.slice() ?? this.#copy(weights);
    if (known === undefined) this.#held.set(weights, fields.slice());
    if (bias !== undefined) fields[BIAS] = instance.put(bias);
    const address = instance.put(fields);
    return { address, weights: weights.outline(), reach: instance.functions.reach(address) >>> 0 };
  }

  #copy(weights: Weights): Fields {
    const { instance } = this;
    const fields = new Uint32Array(12);
    fields.set([weights.rows, weights.cols]);
    if (weights.kind === "dense") {
      fields[DENSE] = instance.put(weights.data);
      return fields;
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
    if (perWord === 2) return fields;
    const table = instance.give(MEANING_BYTES * 2 ** Math.floor(32 / perWord));
    const mark = instance.mark;
    instance.functions.meanings(instance.put(fields), table, codebook.length);
    instance.release(mark);
    fields[TABLE] = table;
    return fields;
  }
}
