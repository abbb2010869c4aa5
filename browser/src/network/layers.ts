// The layers that a caller names: `conv2d("conv1")`, `relu()`, with the arguments of torch's modules of these names.

import { DczError, spellOf } from "../errors.js";
import type { FileTensors } from "./file-tensors.js";
import type { Axes, Operation, Window } from "./operations.js";

/** A layer by the name of its tensors. */
export interface Layer {
  /** Its kind and name, for messages and `explain`. */
  readonly label: string;
  /**
   * Asks for its tensors; what it returns gives the operation when they have been read. Throws DczError "not-found" or
   * "argument" for tensors that are missing or do not fit.
   */
  bind(tensors: FileTensors): () => Operation;
}

/** One number for all axes, or one an axis in the order depth, height, width. */
export type Numbers = number | readonly number[];

/** Arguments of a convolution. */
export interface ConvOptions {
  readonly stride?: Numbers;
  readonly padding?: Numbers;
  readonly dilation?: Numbers;
  readonly groups?: number;
}

/** Arguments of a pool; windows lie side by side if there is no stride. */
export interface PoolOptions {
  readonly stride?: Numbers;
  readonly padding?: Numbers;
  readonly ceilMode?: boolean;
}

function refuse(message: string): never {
  throw new DczError("argument", message);
}

/** The kernels of backends count in 32 bits. */
const MOST = 2 ** 31 - 1;

const isCount = (number: number, least: number): boolean =>
  Number.isInteger(number) && number >= least && number <= MOST;

/** Refuses what a layer does not take: an argument that is ignored gives wrong numbers, without an error. */
function checkOptions(label: string, options: object, names: readonly string[]): void {
  const plain = typeof options === "object" && options !== null && !Array.isArray(options);
  const wrong = plain ? Object.keys(options).find((name) => !names.includes(name)) : spellOf(options);
  if (wrong !== undefined) refuse(`${label}: its options are an object with ${names.join(", ")}; found ${wrong}`);
}

/** The label of a layer that takes tensors. */
function labelOf(kind: string, name: string): string {
  if (typeof name !== "string") refuse(`${kind}: takes the name of its tensors, such as "fc1"; found ${spellOf(name)}`);
  return `${kind} ${name}`;
}

/** One number an axis, `filling` for the axes that images of so many dimensions do not have. */
function each(what: string, numbers: Numbers, dimensions: number, least: number, filling: number): Axes {
  const given = typeof numbers === "number" ? Array.from({ length: dimensions }, () => numbers) : numbers;
  const right = Array.isArray(given) && given.length === dimensions;
  if (!right || !given.every((number) => isCount(number, least))) {
    const found = JSON.stringify(numbers) ?? String(numbers);
    refuse(`${what} is an integer from ${least} to ${MOST}, or ${dimensions} of them; found ${found}`);
  }
  const [depth = filling, height = filling, width = filling] = [filling, filling, ...given].slice(-3);
  return [depth, height, width];
}

function conv(kind: string, dimensions: number, name: string, options: ConvOptions): Layer {
  const label = labelOf(kind, name);
  checkOptions(label, options, ["stride", "padding", "dilation", "groups"]);
  const stride = each(`${label}: stride`, options.stride ?? 1, dimensions, 1, 1);
  const padding = each(`${label}: padding`, options.padding ?? 0, dimensions, 0, 0);
  const dilation = each(`${label}: dilation`, options.dilation ?? 1, dimensions, 1, 1);
  const groups = options.groups ?? 1;
  if (!isCount(groups, 1)) refuse(`${label}: groups is an integer from 1 to ${MOST}; found ${groups}`);
  const bind = (tensors: FileTensors): (() => Operation) => {
    const weights = tensors.weight(`${name}.weight`, dimensions + 2);
    const [outputs = 0, , ...lengths] = weights.shape;
    if (outputs % groups !== 0) {
      refuse(`${name}.weight has ${outputs} outputs, which groups=${groups} does not divide`);
    }
    const kernel = each(`${name}.weight: the length of a kernel`, lengths, dimensions, 1, 1);
    const window = { kernel, stride, padding, dilation, ceil: false, dimensions };
    const bias = tensors.vectorIfAny(`${name}.bias`, outputs);
    return () => ({ kind: "conv", weights: weights.value(), bias: bias?.value(), window, groups });
  };
  return { label, bind };
}

/** A convolution. Takes NAME.weight (outputs, channels / groups, length) and, if there is one, NAME.bias (outputs,). */
export const conv1d = (name: string, options: ConvOptions = {}): Layer => conv("conv1d", 1, name, options);
/** As conv1d, for weights (outputs, channels / groups, height, width). */
export const conv2d = (name: string, options: ConvOptions = {}): Layer => conv("conv2d", 2, name, options);
/** As conv1d, for weights (outputs, channels / groups, depth, height, width). */
export const conv3d = (name: string, options: ConvOptions = {}): Layer => conv("conv3d", 3, name, options);

/** A fully connected layer. Takes NAME.weight (rows, columns) and, if the file has it, NAME.bias (rows,). */
export function linear(name: string): Layer {
  const label = labelOf("linear", name);
  const bind = (tensors: FileTensors): (() => Operation) => {
    const weights = tensors.weight(`${name}.weight`, 2);
    const bias = tensors.vectorIfAny(`${name}.bias`, weights.shape[0] ?? 0);
    return () => ({ kind: "linear", weights: weights.value(), bias: bias?.value() });
  };
  return { label, bind };
}

/**
 * Batch normalisation with the running statistics, of (count, channels, ...).
 * Takes NAME.running_mean, NAME.running_var and, if the file has them, NAME.weight and NAME.bias, all (channels,).
 */
export function batchNorm(name: string, options: { readonly eps?: number } = {}): Layer {
  const label = labelOf("batchNorm", name);
  checkOptions(label, options, ["eps"]);
  const { eps = 1e-5 } = options;
  const bind = (tensors: FileTensors): (() => Operation) => {
    const channels = tensors.length(`${name}.running_mean`);
    const mean = tensors.vector(`${name}.running_mean`, channels);
    const variance = tensors.vector(`${name}.running_var`, channels);
    const weight = tensors.vectorIfAny(`${name}.weight`, channels);
    const bias = tensors.vectorIfAny(`${name}.bias`, channels);
    tensors.take(`${name}.num_batches_tracked`);
    return () => {
      const [gains, shifts] = [weight?.value(), bias?.value()];
      const factor = Float64Array.from(variance.value(), (value, i) => (gains?.[i] ?? 1) / Math.sqrt(value + eps));
      const term = Float32Array.from(mean.value(), (value, i) => (shifts?.[i] ?? 0) - value * (factor[i] ?? 0));
      return { kind: "scale", factor: Float32Array.from(factor), term };
    };
  };
  return { label, bind };
}

const plain = (label: string, operation: Operation): Layer => ({ label, bind: () => () => operation });

const POOL_OPTIONS = ["stride", "padding", "ceilMode"];

function poolWindow(label: string, kernelSize: Numbers, options: PoolOptions): Window {
  const kernel = each(`${label}: kernelSize`, kernelSize, 2, 1, 1);
  const stride = options.stride === undefined ? kernel : each(`${label}: stride`, options.stride, 2, 1, 1);
  const padding = each(`${label}: padding`, options.padding ?? 0, 2, 0, 0);
  if (padding.some((number, axis) => 2 * number > (kernel[axis] ?? 0))) {
    refuse(`${label}: padding is at most half of the kernel; found ${padding.slice(1)} and ${kernel.slice(1)}`);
  }
  return { kernel, stride, padding, dilation: [1, 1, 1], ceil: options.ceilMode ?? false, dimensions: 2 };
}

/** The largest element of each window. */
export function maxPool2d(kernelSize: Numbers, options: PoolOptions = {}): Layer {
  checkOptions("maxPool2d", options, POOL_OPTIONS);
  const window = poolWindow("maxPool2d", kernelSize, options);
  return plain("maxPool2d", { kind: "pool", of: "max", window, countPadding: true });
}

/** The mean of each window; the zeros of the padding count unless `countIncludePad` is false. */
export function avgPool2d(
  kernelSize: Numbers,
  options: PoolOptions & { readonly countIncludePad?: boolean } = {},
): Layer {
  checkOptions("avgPool2d", options, [...POOL_OPTIONS, "countIncludePad"]);
  const window = poolWindow("avgPool2d", kernelSize, options);
  return plain("avgPool2d", { kind: "pool", of: "average", window, countPadding: options.countIncludePad ?? true });
}

/** The means of `outputSize` nearly equal parts of the image along each axis. */
export function adaptiveAvgPool2d(outputSize: Numbers): Layer {
  const [, height, width] = each("adaptiveAvgPool2d: outputSize", outputSize, 2, 1, 1);
  return plain("adaptiveAvgPool2d", { kind: "adaptivePool", size: [height, width] });
}

/** max(x, 0). */
export const relu = (): Layer => plain("relu", { kind: "activation", of: "relu", slope: 0 });
/** x, and `negativeSlope` times x below 0. */
export function leakyRelu(negativeSlope = 0.01): Layer {
  if (typeof negativeSlope !== "number")
    refuse(`leakyRelu: negativeSlope is a number; found ${spellOf(negativeSlope)}`);
  return plain("leakyRelu", { kind: "activation", of: "leakyRelu", slope: negativeSlope });
}
/** 1 / (1 + exp(-x)). */
export const sigmoid = (): Layer => plain("sigmoid", { kind: "activation", of: "sigmoid", slope: 0 });
/** tanh(x). */
export const tanh = (): Layer => plain("tanh", { kind: "activation", of: "tanh", slope: 0 });

/** exp(x) / sum(exp(x)) along a dimension. */
export function softmax(dim = -1): Layer {
  if (!Number.isInteger(dim)) refuse(`softmax: dim is an integer; found ${dim}`);
  return plain("softmax", { kind: "softmax", dim });
}

/** Flattens the dimensions from `startDim` on into one. */
export function flatten(startDim = 1): Layer {
  if (!Number.isInteger(startDim) || startDim < 0)
    refuse(`flatten: startDim is an integer from 0 on; found ${startDim}`);
  return plain("flatten", { kind: "flatten", startDim });
}
