// Steps out of operations: what each of them holds on a GPU.

import type { Operation } from "../network/operations.js";
import type { Weights } from "../network/packed.js";
import { type GpuTraits, Memory } from "./plan.js";
import type { GpuWeights } from "./products.js";
import type { GpuStep } from "./steps.js";
import { type DenseMatrix, type PackedMatrix, placeDense, placePacked } from "./weights.js";

/** The matrices of a backend: tied weights are held once. */
export type Matrices = WeakMap<Weights, PackedMatrix | DenseMatrix>;

/** A step with all that it needs on a GPU with such traits, not placed there yet. */
export function makeStep(operation: Operation, traits: GpuTraits, matrices: Matrices = new WeakMap()): GpuStep {
  if (operation.kind === "linear" || operation.kind === "conv") {
    const { weights, bias } = operation;
    const held = matrices.get(weights);
    const matrix = held ?? placeWeights(operation, traits);
    matrices.set(weights, matrix);
    const given: GpuWeights = {
      matrix,
      bias: Memory.of(bias === undefined ? new Float32Array(weights.rows) : Float32Array.from(bias)),
    };
    const memories = held === undefined ? [...matrix.memories, given.bias] : [given.bias];
    return stepOf(operation, `webgpu, ${weights.kind}`, memories, { weights: given });
  }
  if (operation.kind === "scale") {
    const pairs = Float32Array.from({ length: 2 * operation.factor.length }, (_, i) => {
      return (i % 2 === 0 ? operation.factor : operation.term)[i >> 1] ?? 0;
    });
    const scale = Memory.of(pairs);
    return stepOf(operation, "webgpu", [scale], { scale });
  }
  return stepOf(operation, "webgpu", [], {});
}

function placeWeights(operation: Operation & { kind: "linear" | "conv" }, traits: GpuTraits) {
  const { weights } = operation;
  if (weights.kind === "packed") return placePacked(weights, traits, operation.kind === "linear");
  return placeDense(
    weights,
    traits,
    operation.kind === "conv" && operation.groups > 1 ? weights.rows / operation.groups : 1,
  );
}

function stepOf(operation: Operation, kernel: string, memories: readonly Memory[], parts: Partial<GpuStep>): GpuStep {
  return { operation, kernel, memories, heldBytes: memories.reduce((sum, { bytes }) => sum + bytes, 0), ...parts };
}
