// Operations in WebAssembly: the backend that runs everywhere.

import { convKernel } from "./compute-conv.js";
import { type Address, ComputeInstance } from "./compute-instance.js";
import { activationCompute, adaptivePoolCompute, poolCompute, scaleCompute, softmaxCompute } from "./compute-layers.js";
import { linearKernel } from "./compute-linear.js";
import { type Backend, type Operation, outputShape, product, type Step } from "./operations.js";

/** Computes from numbers at `x` to numbers at `y`, for an input of a shape; memory that it gives is freed behind it. */
export type Compute = (x: Address, y: Address, shape: readonly number[]) => void;

/** How an operation is computed; without `compute` its numbers stay as they are. */
export interface Kernel {
  readonly kernel: string;
  readonly compute?: Compute;
}

interface WasmStep extends Step, Kernel {}

function kernelOf(instance: ComputeInstance, operation: Operation): Kernel {
  switch (operation.kind) {
    case "linear":
      return linearKernel(instance, operation);
    case "conv":
      return convKernel(instance, operation);
    case "pool":
      return { kernel: "", compute: poolCompute(instance, operation) };
    case "adaptivePool":
      return { kernel: "", compute: adaptivePoolCompute(instance, operation) };
    case "scale":
      return { kernel: "", compute: scaleCompute(instance, operation) };
    case "activation":
      return { kernel: "", compute: activationCompute(instance, operation) };
    case "softmax":
      return { kernel: "", compute: softmaxCompute(instance, operation) };
    case "flatten":
      return { kernel: "" };
  }
}

/** The backend of WebAssembly, on one thread. Throws DczError "unsupported" or "network" if it cannot be had. */
export async function createWasmBackend(): Promise<Backend> {
  const instance = await ComputeInstance.create();
  return {
    name: "wasm",
    async prepare(operation) {
      const before = instance.mark;
      const { kernel, ...how } = kernelOf(instance, operation);
      const name = kernel ? `wasm, ${kernel}` : "wasm";
      const step: WasmStep = { operation, heldBytes: instance.mark - before, kernel: name, ...how };
      return step;
    },
    async run(steps, x, shape) {
      return runSteps(instance, steps as readonly WasmStep[], x, shape);
    },
    close() {},
  };
}

/** Each step reads one half of the memory for activations, and writes the other. */
function runSteps(
  instance: ComputeInstance,
  steps: readonly WasmStep[],
  x: Float32Array,
  shape: readonly number[],
): Float32Array {
  const mark = instance.mark;
  try {
    const shapes = [shape];
    for (const { operation } of steps) shapes.push(outputShape(operation, shapes.at(-1) ?? []));
    const bytes = 4 * Math.max(...shapes.map(product));
    let [from, to] = [instance.give(bytes), instance.give(bytes)];
    instance.floats(from, x.length).set(x);
    steps.forEach(({ compute }, i) => {
      if (compute === undefined) return;
      const inner = instance.mark;
      compute(from, to, shapes[i] ?? []);
      instance.release(inner);
      [from, to] = [to, from];
    });
    return instance.floats(from, product(shapes.at(-1) ?? [])).slice();
  } finally {
    instance.release(mark);
  }
}
