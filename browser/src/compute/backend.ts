// Operations in WebAssembly: the backend that runs everywhere.

import { DczError } from "../errors.js";
import { type Backend, type Operation, outputShape, product, type Step } from "../network/operations.js";
import { convKernel } from "./conv.js";
import { type Address, ComputeInstance } from "./instance.js";
import { activationCompute, adaptivePoolCompute, poolCompute, scaleCompute, softmaxCompute } from "./layers.js";
import { linearKernel } from "./linear.js";
import { Matrices } from "./matrix.js";

/** Computes from numbers at `x` to numbers at `y`, for an input of a shape; memory that it gives is freed behind it. */
export type Compute = (x: Address, y: Address, shape: readonly number[]) => void;

/** How an operation is computed; without `compute` its numbers stay as they are. */
export interface Kernel {
  readonly kernel: string;
  readonly compute?: Compute;
}

interface WasmStep extends Step, Kernel {}

function kernelOf(instance: ComputeInstance, matrices: Matrices, operation: Operation): Kernel {
  switch (operation.kind) {
    case "linear":
      return linearKernel(instance, matrices, operation);
    case "conv":
      return convKernel(instance, matrices, operation);
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

/** The same operation without the arrays of its weights: for its shapes. */
function outline(operation: Operation): Operation {
  return "weights" in operation ? { ...operation, weights: operation.weights.outline() } : operation;
}

/** The backend of WebAssembly, on one thread. Throws DczError "unsupported" or "network" if it cannot be had. */
export async function createWasmBackend(): Promise<Backend> {
  let instance: ComputeInstance | undefined = await ComputeInstance.create();
  let matrices: Matrices | undefined = new Matrices(instance);
  return {
    name: "wasm",
    get memoryBytes() {
      return instance?.memoryBytes ?? 0;
    },
    async prepare(operation) {
      if (instance === undefined || matrices === undefined) throw closed();
      const before = instance.mark;
      const { kernel, ...how } = kernelOf(instance, matrices, operation);
      const name = kernel ? `wasm, ${kernel}` : "wasm";
      const step: WasmStep = { operation: outline(operation), heldBytes: instance.mark - before, kernel: name, ...how };
      return step;
    },
    async run(steps, x, shape) {
      if (instance === undefined) throw closed();
      return runSteps(instance, steps as readonly WasmStep[], x, shape);
    },
    close() {
      // the memory goes with the last that knows it
      instance = undefined;
      matrices = undefined;
    },
  };
}

const closed = () => new DczError("argument", "the backend is closed");

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
