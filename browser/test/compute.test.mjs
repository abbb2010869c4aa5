// Layers in WebAssembly against slow twins in float64.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createWasmBackend } from "../dist/compute/backend.js";
import * as layers from "../dist/network/layers.js";
import { outputShape } from "../dist/network/operations.js";
import { pack } from "../dist/network/pack.js";
import { Dense } from "../dist/network/packed.js";
import { conv, error, fileOf, inputsOf, linear, weightsOf } from "./twins.mjs";

const backend = await createWasmBackend();
const packOf = (shape, data) => pack(fileOf({ w: { shape, data } }), "w");

async function run(operation, x, shape) {
  const step = await backend.prepare(operation);
  return backend.run([step], x, shape);
}

/** The result of a layer without weights. */
const layer = async (made, x, shape) => run(made.bind(undefined)(), Float32Array.from(x), shape);

for (const [rows, cols] of [
  [1, 1],
  [1, 700],
  [300, 1],
  [37, 131],
  [64, 256],
  [100, 1500],
]) {
  for (const [density, centroids] of [
    [0, 1],
    [0.02, 1],
    [0.1, 2],
    [0.1, 16],
    [0.3, 5],
    [0.5, 32],
    [1, 64],
    [0.9, 256],
  ]) {
    test(`linear ${rows} x ${cols}, density ${density}, ${centroids} centroids, packed and dense`, async () => {
      const data = weightsOf(rows * cols, density, centroids);
      const bias = density === 0.1 ? undefined : inputsOf(rows, 3);
      for (const weights of [await packOf([rows, cols], data), new Dense([rows, cols], data)]) {
        for (const count of [0, 1, 2, 3, 4, 5, 8, 16, 17, 33, 70]) {
          if (count > 20 && rows * cols > 20000) continue;
          const x = inputsOf(count * cols);
          const y = await run({ kind: "linear", weights, bias }, x, [count, cols]);
          assert.ok(error(y, linear(data, rows, cols, bias, x)) < 2e-6, `${weights.kind}, ${count} vectors`);
        }
      }
    });
  }
}

const each = (numbers, axes) => (typeof numbers === "number" ? Array(axes).fill(numbers) : numbers);

/** Weights, input, and arguments of convolutions. */
const CONVOLUTIONS = [
  [[1, 1, 1], [1, 1, 1], {}],
  [[4, 3, 5], [2, 3, 40], {}],
  [[4, 3, 4], [2, 3, 41], { stride: 3, padding: 2, dilation: 2 }],
  [[6, 2, 3], [1, 6, 17], { groups: 3, padding: 1 }],
  [[5, 3, 1, 1], [2, 3, 9, 7], {}],
  [[20, 1, 5, 5], [1, 1, 28, 28], {}],
  [[9, 4, 3, 3], [2, 4, 13, 13], { padding: 1 }],
  [[8, 3, 11, 11], [1, 3, 40, 37], { stride: 4, padding: 2 }],
  [[8, 2, 5, 5], [1, 4, 13, 12], { groups: 2, padding: 2 }],
  [[7, 3, 3, 2], [1, 3, 12, 15], { stride: [2, 1], padding: [0, 2], dilation: [1, 3] }],
  [[7, 3, 2, 2], [1, 3, 9, 9], { stride: 3, dilation: 2 }],
  [[6, 1, 3, 3], [1, 6, 10, 10], { groups: 6, padding: 1 }],
  [[3, 2, 1, 1], [1, 2, 7, 8], { stride: 2 }],
  [[2, 1, 3, 3], [1, 1, 1, 1], { padding: 1 }],
  [[3, 2, 2, 2], [1, 2, 3, 3], { padding: 5 }],
  [[4, 2, 2, 3, 3], [1, 2, 5, 6, 7], { padding: 1, stride: [1, 2, 1] }],
  [[3, 40, 3, 3], [1, 40, 60, 61], {}],
  [[3, 2, 3, 3], [0, 2, 8, 8], {}],
];

for (const [shape, given, options] of CONVOLUTIONS) {
  for (const [density, centroids] of [
    [0, 1],
    [0.2, 16],
    [0.5, 256],
    [1, 8],
  ]) {
    test(`convolution ${shape}, input ${given}, ${JSON.stringify(options)}, density ${density}`, async () => {
      const axes = shape.length - 2;
      const count = shape.reduce((a, b) => a * b);
      const data = weightsOf(count, density, centroids);
      const bias = density === 0.5 ? undefined : inputsOf(shape[0], 3);
      const x = inputsOf(given.reduce((a, b) => a * b));
      const args = { stride: 1, padding: 0, dilation: 1, ...options };
      for (const name of ["stride", "padding", "dilation"]) args[name] = each(args[name], axes);
      const expected = conv(data, shape, bias, x, given, { groups: 1, ...args });
      const made = [layers.conv1d, layers.conv2d, layers.conv3d][axes - 1]("c", options);
      for (const weights of [await packOf(shape, data), new Dense(shape, data)]) {
        const wanted = (value) => ({ shape, value: () => value });
        const operation = made.bind({ weight: () => wanted(weights), vectorIfAny: () => bias && wanted(bias) })();
        assert.deepEqual(outputShape(operation, given), expected.shape);
        assert.ok(error(await run(operation, x, given), expected.data) < 2e-6, weights.kind);
      }
    });
  }
}

/** Pools of one image, window by window. */
function pool(x, [height, width], kernel, stride, padding, counts, combine) {
  const y = [];
  for (let i = 0; i < counts[0]; i++) {
    for (let j = 0; j < counts[1]; j++) {
      const found = [];
      let padded = 0;
      for (let a = i * stride - padding; a < i * stride - padding + kernel; a++) {
        for (let b = j * stride - padding; b < j * stride - padding + kernel; b++) {
          if (a >= 0 && b >= 0 && a < height && b < width) found.push(x[a * width + b]);
          if (a < height + padding && b < width + padding) padded += 1;
        }
      }
      y.push(combine(found, padded));
    }
  }
  return y;
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

for (const [extents, kernel, stride, padding, ceilMode, counts] of [
  [[6, 6], 2, 2, 0, false, [3, 3]],
  [[7, 9], 3, 2, 1, false, [4, 5]],
  [[7, 9], 3, 2, 0, true, [3, 4]],
  [[6, 8], 3, 2, 1, true, [4, 5]],
  [[13, 13], 3, 2, 0, false, [6, 6]],
  [[5, 5], 2, 3, 1, true, [2, 2]],
  [[1, 1], 1, 1, 0, false, [1, 1]],
]) {
  test(`pools of ${extents}, kernel ${kernel}, stride ${stride}, padding ${padding}, ceil ${ceilMode}`, async () => {
    const x = inputsOf(2 * extents[0] * extents[1]);
    const half = x.length / 2;
    const twin = (combine) =>
      [x.subarray(0, half), x.subarray(half)].flatMap((part) =>
        pool(part, extents, kernel, stride, padding, counts, combine),
      );
    const options = { stride, padding, ceilMode };
    const shape = [1, 2, ...extents];
    const most = await layer(layers.maxPool2d(kernel, options), x, shape);
    assert.deepEqual(
      [...most],
      twin((found) => Math.max(...found)),
    );
    const mean = await layer(layers.avgPool2d(kernel, options), x, shape);
    assert.ok(
      error(
        mean,
        twin((found, padded) => sum(found) / padded),
      ) < 1e-6,
    );
    const inner = await layer(layers.avgPool2d(kernel, { ...options, countIncludePad: false }), x, shape);
    assert.ok(
      error(
        inner,
        twin((found) => sum(found) / found.length),
      ) < 1e-6,
    );
  });
}

test("the largest of a window with a NaN is NaN, wherever it stands", async () => {
  for (let at = 0; at < 4; at++) {
    const x = [1, -2, 3, 4];
    x[at] = Number.NaN;
    assert.deepEqual([...(await layer(layers.maxPool2d(2), x, [1, 1, 2, 2]))], [Number.NaN]);
  }
});

test("sorted rows of a convolution and of a matrix give outputs in the order of the file", async () => {
  const [rows, cols] = [64, 200];
  const data = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) data.fill((row % 5) + 1, row * cols, row * cols + ((37 * row) % 64) * 2);
  const x = inputsOf(cols * 6);
  const shape = [rows, cols, 1, 1];
  for (const groups of [1, 2]) {
    const weights = await packOf([rows, cols, 1, 1], data);
    assert.ok(weights.order);
    const input = inputsOf(groups * cols * 6);
    const args = { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups };
    const wanted = { shape, value: () => weights };
    const operation = layers.conv2d("c", { groups }).bind({ weight: () => wanted, vectorIfAny: () => undefined })();
    const given = [1, groups * cols, 2, 3];
    assert.ok(error(await run(operation, input, given), conv(data, shape, undefined, input, given, args).data) < 2e-6);
  }
  const weights = await packOf([rows, cols], data);
  for (const count of [1, 6]) {
    const some = x.subarray(0, count * cols);
    const y = await run({ kind: "linear", weights, bias: undefined }, some, [count, cols]);
    assert.ok(error(y, linear(data, rows, cols, undefined, some)) < 2e-6);
  }
});

test("adaptive pools take nearly equal parts", async () => {
  const x = inputsOf(7 * 5);
  const y = await layer(layers.adaptiveAvgPool2d([3, 2]), x, [1, 1, 7, 5]);
  const expected = [];
  for (const [top, bottom] of [
    [0, 3],
    [2, 5],
    [4, 7],
  ]) {
    for (const [left, right] of [
      [0, 3],
      [2, 5],
    ]) {
      const part = [];
      for (let i = top; i < bottom; i++) for (let j = left; j < right; j++) part.push(x[i * 5 + j]);
      expected.push(sum(part) / part.length);
    }
  }
  assert.ok(error(y, expected) < 1e-6);
});

const ODD = [0, -0, 1, -1, 0.3, -7, 30, -30, 88, -88, 200, -200, 1e-30, Infinity, -Infinity, Number.NaN];

test("activations of ordinary and odd numbers", async () => {
  const x = [...ODD, ...inputsOf(1001).map((number) => 20 * number)].map(Math.fround);
  const expected = (formula) => Float32Array.from(x, formula);
  for (const [made, formula, limit] of [
    [layers.relu(), (v) => (v > 0 || Number.isNaN(v) ? v : 0), 0],
    [layers.leakyRelu(0.125), (v) => (v > 0 ? v : 0.125 * v), 0],
    [layers.sigmoid(), (v) => 1 / (1 + Math.exp(-v)), 5e-7],
    [layers.tanh(), Math.tanh, 5e-7],
  ]) {
    const y = await layer(made, x, [1, x.length]);
    for (const [i, number] of expected(formula).entries()) {
      const same = Object.is(number, y[i]) || Math.abs(number - y[i]) <= limit;
      assert.ok(same, `${made.label} of ${x[i]}: ${y[i]}, expected ${number}`);
    }
  }
});

test("softmax along every axis", async () => {
  const shape = [2, 3, 4];
  const x = inputsOf(24).map((number) => 10 * number);
  const at = (i, j, k) => (i * 3 + j) * 4 + k;
  for (const [dim, line] of [
    [0, (_i, j, k) => [at(0, j, k), at(1, j, k)]],
    [1, (i, _j, k) => [0, 1, 2].map((j) => at(i, j, k))],
    [-1, (i, j, _k) => [0, 1, 2, 3].map((k) => at(i, j, k))],
  ]) {
    const y = await layer(layers.softmax(dim), x, shape);
    const expected = [];
    for (let i = 0; i < 2; i++) {
      for (let j = 0; j < 3; j++) {
        for (let k = 0; k < 4; k++) {
          const most = Math.max(...line(i, j, k).map((n) => x[n]));
          const total = sum(line(i, j, k).map((n) => Math.exp(x[n] - most)));
          expected.push(Math.exp(x[at(i, j, k)] - most) / total);
        }
      }
    }
    assert.ok(error(y, expected) < 1e-6);
  }
  assert.ok([...(await layer(layers.softmax(), [1, Number.NaN, 2], [1, 3]))].every(Number.isNaN));
});

test("batch normalisation and flatten", async () => {
  const tensors = {
    length: () => 2,
    vector: (name) => ({ value: () => Float32Array.from(name.endsWith("mean") ? [1, -2] : [4, 0.25]) }),
    vectorIfAny: (name) => ({ value: () => Float32Array.from(name.endsWith("weight") ? [3, 5] : [0.5, 7]) }),
    take: () => {},
  };
  const operation = layers.batchNorm("bn", { eps: 0 }).bind(tensors)();
  const y = await run(operation, Float32Array.of(1, 3, -2, -1, 5, 1, 0, -2), [2, 2, 2]);
  assert.deepEqual([...y], [0.5, 3.5, 7, 17, 6.5, 0.5, 27, 7]);
  assert.deepEqual([...(await layer(layers.flatten(), [1, 2, 3, 4], [1, 2, 2]))], [1, 2, 3, 4]);
  assert.deepEqual(outputShape({ kind: "flatten", startDim: 2 }, [2, 3, 4, 5]), [2, 3, 20]);
});

test("infinite and NaN inputs reach the outputs whose weights meet them", async () => {
  const data = Float32Array.from({ length: 40 * 50 }, (_, i) => (i % 50 === 7 ? 1 : i % 50 < 3 ? 0.5 : 0));
  const x = new Float32Array(50).fill(1);
  x[7] = Number.POSITIVE_INFINITY;
  x[49] = Number.NaN; // no survivor's column
  const weights = await packOf([40, 50], data);
  const operation = { kind: "linear", weights, bias: undefined };
  const one = await run(operation, x, [1, 50]);
  assert.ok([...one].every((number) => number === Number.POSITIVE_INFINITY));
  x[7] = Number.NaN;
  assert.ok([...(await run(operation, x, [1, 50]))].every(Number.isNaN));
});

test("weights that are -0, NaN or infinite compute as such", async () => {
  const data = Float32Array.of(0, -0, 2, Number.NaN, 0, 0, Number.POSITIVE_INFINITY, 0, 1);
  const y = await run(
    { kind: "linear", weights: await packOf([3, 3], data), bias: undefined },
    Float32Array.of(1, 2, 3),
    [1, 3],
  );
  assert.deepEqual([...y], [6, Number.NaN, Number.POSITIVE_INFINITY]);
});
