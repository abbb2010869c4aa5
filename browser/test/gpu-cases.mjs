// Steps with inputs and expected outputs, for every kernel of the GPU and every variant of it.

import { outputShape, product } from "../dist/network/operations.js";
import { Dense } from "../dist/network/packed.js";
import { compute, packSlowly, randomNumbers, randomShared } from "./gpu-twin.mjs";

const window = (kernel, more = {}) => ({
  kernel,
  stride: [1, 1, 1],
  padding: [0, 0, 0],
  dilation: [1, 1, 1],
  ceil: false,
  dimensions: 2,
  ...more,
});
const relu = { kind: "activation", of: "relu", slope: 0 };

/** Layouts of entries: bits of skips, distinct survivors. Few of them, because each is a shader to compile. */
const [NIBBLES, THIRDS, HALVES] = [
  [4, 16],
  [5, 30],
  [8, 256],
];

/** Shapes, densities and layouts: rows, columns, density, layout, whether rows are sorted, numbers of vectors. */
const MATRICES = [
  [10, 500, 0.3, NIBBLES, false, [1, 5, 20]], // few rows
  [1, 1, 1, NIBBLES, false, [1]],
  [33, 70, 0.1, HALVES, true, [1, 5, 20]], // a block that is not full
  [96, 301, 0.02, NIBBLES, true, [1, 20]], // long gaps; columns that four does not divide
  [64, 2048, 0.12, THIRDS, false, [1, 3, 7, 16, 17, 130]], // several parts a row
  [40, 64, 0, THIRDS, false, [1, 17]], // no survivor at all
  [130, 33, 1, NIBBLES, false, [1, 5]], // nothing pruned
];

/** Convolutions: input, outputs, kernel and the like. */
const CONVOLUTIONS = [
  { shape: [1, 1, 28, 28], outputs: 20, kernel: [1, 5, 5] },
  { shape: [2, 6, 13, 11], outputs: 9, kernel: [1, 3, 3], padding: [0, 1, 2], stride: [1, 2, 1] },
  { shape: [1, 8, 12, 12], outputs: 6, kernel: [1, 3, 2], dilation: [1, 2, 3], groups: 2, sorted: true },
  { shape: [1, 12, 9, 9], outputs: 12, kernel: [1, 3, 3], padding: [0, 1, 1], groups: 12 },
  { shape: [3, 70, 5, 5], outputs: 40, kernel: [1, 1, 1], density: 0.5 },
  { shape: [1, 1, 40, 40], outputs: 340, kernel: [1, 1, 2] }, // several pixels a thread, tiles of 64
  { shape: [2, 3, 40], outputs: 5, kernel: [1, 1, 7], dimensions: 1, padding: [0, 0, 3], stride: [1, 1, 2] },
  { shape: [1, 2, 6, 7, 8], outputs: 4, kernel: [3, 2, 3], dimensions: 3, padding: [1, 0, 1], stride: [2, 1, 1] },
];

const PLAIN = [
  ["max pool", [2, 3, 13, 11], { kind: "pool", of: "max", window: window([1, 3, 2], { stride: [1, 2, 2] }) }],
  ["max pool, ceil", [1, 2, 8, 8], pool("max", [1, 3, 3], { stride: [1, 3, 3], padding: [0, 1, 1], ceil: true })],
  ["mean pool", [1, 4, 9, 9], pool("average", [1, 3, 3], { stride: [1, 2, 2], padding: [0, 1, 1] })],
  ["mean pool, ceil", [1, 2, 8, 7], pool("average", [1, 3, 3], { stride: [1, 2, 2], padding: [0, 1, 1], ceil: true })],
  ["mean pool, no zeros", [1, 4, 9, 9], pool("average", [1, 3, 3], { padding: [0, 1, 1] }, false)],
  ["adaptive pool", [2, 3, 13, 9], { kind: "adaptivePool", size: [6, 4] }],
  ["adaptive pool, long lines", [1, 1, 1, 90_000], { kind: "adaptivePool", size: [1, 50_000] }], // product above 2^32
  ["scale", [2, 3, 5, 7], { kind: "scale", factor: Float32Array.of(2, -1, 0.5), term: Float32Array.of(0, 1, -3) }],
  ["relu", [3, 100], relu],
  ["leaky relu", [300], { ...relu, of: "leakyRelu", slope: 0.2 }],
  ["sigmoid", [2, 65], { ...relu, of: "sigmoid" }],
  ["tanh", [130], { ...relu, of: "tanh" }],
  ["softmax", [3, 1000], { kind: "softmax", dim: -1 }],
  ["softmax, middle", [2, 7, 3, 5], { kind: "softmax", dim: 1 }],
  ["flatten", [2, 3, 4], { kind: "flatten", startDim: 1 }],
];

function pool(of, kernel, more, countPadding = true) {
  return { kind: "pool", of, window: window(kernel, more), countPadding };
}

/**
 * All cases: {name, operations, shape, x, expected (float64), scale: of each output, the sum of its terms' sizes}.
 * Each matrix comes packed and dense.
 */
export function cases() {
  const random = randomNumbers(17);
  const numbers = (count) => Float32Array.from({ length: count }, () => 2 * random() - 1);
  const found = [];
  const add = (name, operations, shape, denses = []) => {
    const x = numbers(product(shape));
    let [expected, scale, current] = [Float64Array.from(x), Float64Array.from(x, Math.abs), shape];
    operations.forEach((operation, i) => {
      expected = compute(operation, expected, current, denses[i]);
      if (denses[i] !== undefined) {
        const positive = { ...operation, bias: operation.bias?.map(Math.abs) };
        scale = compute(positive, scale, current, denses[i].map(Math.abs));
      } else if (i === 0) scale = expected.map((one) => Math.abs(one) + 1);
      current = outputShape(operation, current);
    });
    found.push({ name, operations, shape, x, expected, scale });
  };
  const both = (name, shared, skipBits, sorted, make, shape) => {
    for (const weights of [packSlowly(shared, skipBits, sorted), new Dense(shared.shape, shared.dense)]) {
      add(`${name}, ${weights.kind}`, make(weights), shape, [shared.dense]);
    }
  };
  MATRICES.forEach(([rows, cols, density, [skipBits, distinct], sorted, counts], i) => {
    const shared = randomShared(random, [rows, cols], density, distinct);
    for (const vectors of counts) {
      const bias = i % 2 ? undefined : numbers(rows);
      const make = (weights) => [{ kind: "linear", weights, bias }, ...(i % 3 ? [relu] : [])];
      both(`linear ${rows}x${cols}, ${vectors} vectors`, shared, skipBits, sorted, make, [vectors, cols]);
    }
  });
  for (const { shape, outputs, kernel, groups = 1, density = 0.3, sorted = false, ...more } of CONVOLUTIONS) {
    const dimensions = more.dimensions ?? 2;
    const weightShape = [outputs, shape[1] / groups, ...kernel.slice(3 - dimensions)];
    const [skipBits, distinct] = THIRDS;
    const shared = randomShared(random, weightShape, density, distinct);
    const bias = numbers(outputs);
    const make = (weights) => [{ kind: "conv", weights, bias, window: window(kernel, more), groups }];
    both(`conv${dimensions}d ${weightShape.join("x")} of ${shape.join("x")}`, shared, skipBits, sorted, make, shape);
  }
  for (const [name, shape, operation] of PLAIN) add(name, [operation], shape);
  return found;
}
