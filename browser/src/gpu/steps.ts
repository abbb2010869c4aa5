// Plans of whole runs: what each step does on a GPU, and where its output lies.

import { DczError } from "../errors.js";
import {
  type ActivationOperation,
  type AdaptivePoolOperation,
  axesOf,
  type Operation,
  outputShape,
  type PoolOperation,
  product,
  type Step,
} from "../network/operations.js";
import { WORKGROUP } from "./kernels.js";
import { type GpuTraits, type Memory, Plan } from "./plan.js";
import { type Activation, type GpuWeights, planConv, planCopy, planLinear } from "./products.js";

/** An operation with what it holds on the GPU. */
export interface GpuStep extends Step {
  readonly memories: readonly Memory[];
  readonly weights?: GpuWeights;
  /** Factor and term of each channel, of a "scale". */
  readonly scale?: Memory;
}

/** A run: the dispatches from `input` (float32) to `output` (float32, of `outputShape`). */
export interface Run {
  readonly plan: Plan;
  readonly input: Memory;
  readonly output: Memory;
  readonly outputShape: readonly number[];
}

/** Of an axis of an adaptive pool, whose kernel squares their number. */
const MOST_OUTPUTS = 0xffff;

const ACTIVATIONS = ["none", "relu", "leakyRelu", "sigmoid", "tanh"];

function activationSizes(operation: ActivationOperation | undefined): Activation {
  const [slope = 0] = new Uint32Array(Float32Array.of(operation?.slope ?? 0).buffer);
  return { activation: ACTIVATIONS.indexOf(operation?.of ?? "none"), slope };
}

/** The plan of a run of steps on an input of `shape`. An activation right behind a layer is part of its kernel. */
export function planRun(steps: readonly GpuStep[], shape: readonly number[], traits: GpuTraits): Run {
  const plan = new Plan(traits);
  let current = [...shape];
  const input = plan.activations(product(current), 4);
  let x = traits.f16 ? converted(plan, input, product(current), "f32", "f16") : input;
  for (let i = 0; i < steps.length; i += 1) {
    const step = steps[i] as GpuStep;
    const next = steps[i + 1]?.operation;
    const fused = next?.kind === "activation" && FUSING.includes(step.operation.kind) ? next : undefined;
    const given = x;
    const from = current;
    current = outputShape(step.operation, current);
    if (product(current) > 0) x = planStep(plan, step, x, from, current, activationSizes(fused));
    if (x !== given && given !== input) plan.release(given);
    if (fused !== undefined) i += 1;
  }
  const output = traits.f16 ? converted(plan, x, product(current), "f16", "f32") : x;
  return { plan, input, output, outputShape: current };
}

const FUSING: readonly Operation["kind"][] = ["linear", "conv", "scale"];

function converted(plan: Plan, x: Memory, count: number, From: "f32" | "f16", To: "f32" | "f16"): Memory {
  const y = plan.activations(count, To === "f16" ? 2 : 4);
  const line = [1, 1, 1, count] as const;
  planCopy(plan, x, y, { y: line, x: line, steps: [0, 0, 0, 1], before: [0, 0, 0] }, { From, To });
  return y;
}

/** Adds the dispatches of one step; gives the memory of its output, which is `x` for what works in place. */
function planStep(
  plan: Plan,
  step: GpuStep,
  x: Memory,
  shape: readonly number[],
  after: readonly number[],
  activation: Activation,
): Memory {
  const { operation } = step;
  switch (operation.kind) {
    case "linear":
      return step.weights === undefined
        ? x
        : planLinear(plan, step.weights, x, product(shape.slice(0, -1)), activation);
    case "conv":
      return step.weights === undefined ? x : planConv(plan, step.weights, operation, x, shape, activation);
    case "pool":
    case "adaptivePool":
      return planPool(plan, operation, x, shape, after);
    case "scale":
      return planElementwise(plan, x, shape, step.scale, activation);
    case "activation":
      return planElementwise(plan, x, shape, undefined, activationSizes(operation));
    case "softmax":
      return planSoftmax(plan, x, shape, operation.dim);
    case "flatten":
      return x;
  }
}

function planElementwise(
  plan: Plan,
  x: Memory,
  shape: readonly number[],
  scale: Memory | undefined,
  activation: Activation,
) {
  const kernel = plan.kernel("elementwise");
  const channels = { channels: shape[1] ?? 1, channel: product(shape.slice(2)) };
  const sizes = { count: product(shape), scales: Number(scale !== undefined), ...channels, ...activation };
  plan.dispatch(kernel, [x, scale ?? plan.numbers(new Uint32Array(2))], sizes, Math.ceil(sizes.count / WORKGROUP));
  return x;
}

function planPool(
  plan: Plan,
  operation: PoolOperation | AdaptivePoolOperation,
  x: Memory,
  shape: readonly number[],
  after: readonly number[],
) {
  const [, height, width] = axesOf(shape);
  const [, yHeight, yWidth] = axesOf(after);
  const y = plan.activations(product(after));
  const window = operation.kind === "pool" ? operation.window : undefined;
  const axes = (which: "kernel" | "stride" | "padding") => window?.[which] ?? [0, 0, 0];
  if (window === undefined && Math.max(yHeight, yWidth) > MOST_OUTPUTS) {
    throw new DczError("size", `an adaptive pool on a GPU gives at most ${MOST_OUTPUTS} parts an axis; use "wasm"`);
  }
  let of = 3;
  if (operation.kind === "pool") of = operation.of === "max" ? 0 : operation.countPadding ? 1 : 2;
  const sizes = {
    count: product(after),
    height,
    width,
    y_height: yHeight,
    y_width: yWidth,
    kernel_y: axes("kernel")[1],
    kernel_x: axes("kernel")[2],
    stride_y: axes("stride")[1],
    stride_x: axes("stride")[2],
    padding_y: axes("padding")[1],
    padding_x: axes("padding")[2],
  };
  plan.dispatch(plan.kernel("pool", { POOL: of }), [x, y], sizes, Math.ceil(sizes.count / WORKGROUP));
  return y;
}

function planSoftmax(plan: Plan, x: Memory, shape: readonly number[], dim: number) {
  const axis = dim < 0 ? shape.length + dim : dim;
  const length = shape[axis] ?? 1;
  const sizes = { lines: product(shape) / length, length, step: product(shape.slice(axis + 1)) };
  plan.dispatch(plan.kernel("softmax"), [x], sizes, sizes.lines);
  return x;
}
