// Layers without weights in WebAssembly.

import {
  type ActivationOperation,
  type AdaptivePoolOperation,
  axesOf,
  type PoolOperation,
  product,
  type ScaleOperation,
  type SoftmaxOperation,
  windowCounts,
} from "../network/operations.js";
import type { Compute } from "./backend.js";
import type { ComputeInstance } from "./instance.js";

export function poolCompute(instance: ComputeInstance, { of, window, countPadding }: PoolOperation): Compute {
  return (x, y, shape) => {
    const extents = axesOf(shape);
    const counts = windowCounts(window, extents);
    const fields = [product(shape.slice(0, 2))];
    for (const axis of [1, 2] as const) {
      fields.push(extents[axis], counts[axis], window.kernel[axis], window.stride[axis], window.padding[axis]);
    }
    const pools = instance.put(Uint32Array.from([...fields, countPadding ? 1 : 0]));
    instance.functions.pool(pools, of === "average" ? 1 : 0, x, y);
  };
}

export function adaptivePoolCompute(instance: ComputeInstance, { size }: AdaptivePoolOperation): Compute {
  return (x, y, shape) => {
    const [, height, width] = axesOf(shape);
    instance.functions.adaptive_pool(product(shape.slice(0, 2)), height, width, ...size, x, y);
  };
}

export function activationCompute({ functions }: ComputeInstance, { of, slope }: ActivationOperation): Compute {
  return (x, y, shape) => {
    const count = product(shape);
    if (of === "leakyRelu") functions.leaky_relu(slope, x, y, count);
    else functions[of](x, y, count);
  };
}

export function scaleCompute(instance: ComputeInstance, operation: ScaleOperation): Compute {
  const factor = instance.put(operation.factor);
  const term = instance.put(operation.term);
  return (x, y, shape) => {
    const [count = 0, channels = 0, ...rest] = shape;
    const plane = product(rest);
    for (let i = 0; i < count; i++) {
      const at = 4 * i * channels * plane;
      instance.functions.scale(factor, term, x + at, y + at, channels, plane);
    }
  };
}

export function softmaxCompute({ functions }: ComputeInstance, { dim }: SoftmaxOperation): Compute {
  return (x, y, shape) => {
    const axis = dim < 0 ? dim + shape.length : dim;
    functions.softmax(x, y, product(shape.slice(0, axis)), shape[axis] ?? 0, product(shape.slice(axis + 1)));
  };
}
