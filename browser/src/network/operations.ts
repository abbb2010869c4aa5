// What layers compute, as data that every backend reads: operations, the shapes that they give, and the backends.

import { DczError } from "../errors.js";
import type { Weights } from "./packed.js";

/** One number an axis: depth, height, width. Images of fewer axes have depth, and height, 1. */
export type Axes = readonly [number, number, number];

/** Where windows lie on images. */
export interface Window {
  readonly kernel: Axes;
  readonly stride: Axes;
  readonly padding: Axes;
  readonly dilation: Axes;
  /** Whether the last window of an axis may reach behind the padding. */
  readonly ceil: boolean;
  /** The axes that inputs have behind count and channels, 1 to 3. */
  readonly dimensions: number;
}

/** x W^T + bias for vectors along the last axis. */
export interface LinearOperation {
  readonly kind: "linear";
  readonly weights: Weights;
  readonly bias: Float32Array | undefined;
}

/** A convolution of images (count, channels, ...axes); weights (outputs, channels / groups, ...kernel). */
export interface ConvOperation {
  readonly kind: "conv";
  readonly weights: Weights;
  readonly bias: Float32Array | undefined;
  readonly window: Window;
  readonly groups: number;
}

/** The largest element or the mean of each window of an image (count, channels, height, width). */
export interface PoolOperation {
  readonly kind: "pool";
  readonly of: "max" | "average";
  readonly window: Window;
  /** Whether means count the zeros of the padding. */
  readonly countPadding: boolean;
}

/** The means of nearly equal parts of an image (count, channels, height, width). */
export interface AdaptivePoolOperation {
  readonly kind: "adaptivePool";
  /** Height and width of the output. */
  readonly size: readonly [number, number];
}

/** x * factor + term, both (channels,), for x (count, channels, ...): batch normalisation. */
export interface ScaleOperation {
  readonly kind: "scale";
  readonly factor: Float32Array;
  readonly term: Float32Array;
}

/** An operation on each element; `slope` is the factor of "leakyRelu" below 0. */
export interface ActivationOperation {
  readonly kind: "activation";
  readonly of: "relu" | "leakyRelu" | "sigmoid" | "tanh";
  readonly slope: number;
}

/** exp(x) / sum(exp(x)) along an axis; a negative one counts from the last. */
export interface SoftmaxOperation {
  readonly kind: "softmax";
  readonly dim: number;
}

/** The axes from `startDim` on become one; nothing is computed. */
export interface FlattenOperation {
  readonly kind: "flatten";
  readonly startDim: number;
}

export type Operation =
  | LinearOperation
  | ConvOperation
  | PoolOperation
  | AdaptivePoolOperation
  | ScaleOperation
  | ActivationOperation
  | SoftmaxOperation
  | FlattenOperation;

/** An operation on a backend, ready to run. */
export interface Step {
  readonly operation: Operation;
  /** Bytes held on the backend: weights, bias and the like. */
  readonly heldBytes: number;
  /** The code that computes it, such as "wasm, packed". */
  readonly kernel: string;
}

/** Computes operations: WebAssembly or WebGPU. */
export interface Backend {
  readonly name: "wasm" | "webgpu";
  /** Bytes of its memory now, for weights and activations; a backend without it holds what its steps say. */
  readonly memoryBytes?: number;
  /** Resolves when the device is gone, with the reason. */
  readonly lost?: Promise<string>;
  /** Takes an operation and copies its weights; undefined if this backend has no kernel for it. */
  prepare(operation: Operation): Promise<Step | undefined>;
  /**
   * Runs steps one after another. `shape` is that of `x`, already checked by `outputShape`; the result is new.
   * Throws DczError "memory" or "device-lost". Calls do not overlap: a sequence makes one at a time.
   */
  run(steps: readonly Step[], x: Float32Array, shape: readonly number[]): Promise<Float32Array>;
  /** Frees everything; `run` and `prepare` must not be called any more. */
  close(): void;
}

const spell = (shape: readonly number[]) => `[${shape.join(", ")}]`;

export const product = (shape: readonly number[]): number => shape.reduce((all, length) => all * length, 1);

function refuse(message: string): never {
  throw new DczError("argument", message);
}

/** The extents of images by axes depth, height, width: a shape without count and channels, filled up with ones. */
export function axesOf(shape: readonly number[]): Axes {
  const [depth, height, width] = [1, 1, 1, ...shape.slice(2)].slice(-3);
  return [depth ?? 1, height ?? 1, width ?? 1];
}

function checkImages(shape: readonly number[], dimensions: number, channels: number | undefined): void {
  if (shape.length === dimensions + 2 && (channels === undefined || shape[1] === channels)) return;
  const axes = ["count", channels ?? "channels", ...["d", "h", "w"].slice(3 - dimensions)].join(", ");
  refuse(`expected (${axes}), found an input of shape ${spell(shape)}`);
}

/** The number of windows along each axis. Throws DczError "argument" if there is none along one. */
export function windowCounts(window: Window, extents: Axes): Axes {
  const count = (axis: 0 | 1 | 2): number => {
    const [stride, padding] = [window.stride[axis], window.padding[axis]];
    const room = extents[axis] + 2 * padding - (window.dilation[axis] * (window.kernel[axis] - 1) + 1);
    let windows = Math.floor((room + (window.ceil ? stride - 1 : 0)) / stride) + 1;
    // as in torch, no window begins behind the image
    if (window.ceil && (windows - 1) * stride >= extents[axis] + padding) windows -= 1;
    if (windows < 1 || (room < 0 && !window.ceil)) {
      const last = (axes: Axes) => spell(axes.slice(3 - window.dimensions));
      refuse(`windows of ${last(window.kernel)} do not fit into images of ${last(extents)}`);
    }
    return windows;
  };
  return [count(0), count(1), count(2)];
}

/** The shape that an operation gives for an input of a shape. Throws DczError "argument" for one that does not fit. */
export function outputShape(operation: Operation, shape: readonly number[]): number[] {
  switch (operation.kind) {
    case "linear": {
      const { rows, cols } = operation.weights;
      if (shape.at(-1) === cols) return [...shape.slice(0, -1), rows];
      const remedy = shape.length > 2 ? "; a flatten() before it makes vectors of images" : "";
      return refuse(`expected vectors of ${cols}, found an input of shape ${spell(shape)}${remedy}`);
    }
    case "conv": {
      const { window, weights, groups } = operation;
      checkImages(shape, window.dimensions, (weights.shape[1] ?? 0) * groups);
      const counts = windowCounts(window, axesOf(shape)).slice(3 - window.dimensions);
      return [shape[0] ?? 0, weights.rows, ...counts];
    }
    case "pool":
      checkImages(shape, 2, undefined);
      return [...shape.slice(0, 2), ...windowCounts(operation.window, axesOf(shape)).slice(1)];
    case "adaptivePool":
      checkImages(shape, 2, undefined);
      if (product(shape.slice(2)) === 0)
        refuse(`expected images with elements, found an input of shape ${spell(shape)}`);
      return [...shape.slice(0, 2), ...operation.size];
    case "scale":
      if (shape.length >= 2 && shape[1] === operation.factor.length) return [...shape];
      return refuse(`expected (count, ${operation.factor.length}, ...), found an input of shape ${spell(shape)}`);
    case "activation":
      return [...shape];
    case "softmax":
      if (operation.dim >= -shape.length && operation.dim < shape.length) return [...shape];
      return refuse(`dim=${operation.dim} is outside of shape ${spell(shape)}`);
    case "flatten": {
      const { startDim } = operation;
      if (startDim < shape.length) return [...shape.slice(0, startDim), product(shape.slice(startDim))];
      return refuse(`flatten needs dimension ${startDim}; found an input of shape ${spell(shape)}`);
    }
  }
}
