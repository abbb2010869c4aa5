// A sequence of layers: what it computes, what it refuses, what it holds.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createWasmBackend } from "../dist/compute/backend.js";
import * as layers from "../dist/network/layers.js";
import { Sequence } from "../dist/network/sequence.js";
import { conv, error, fileOf, inputsOf, linear, weightsOf } from "./twins.mjs";

const TENSORS = {
  "c.weight": { shape: [4, 2, 3, 3], data: weightsOf(72, 0.4, 16) },
  "c.bias": { shape: [4], data: inputsOf(4, 2) },
  "f.weight": { shape: [5, 16], data: weightsOf(80, 0.3, 8) },
};
const LAYERS = [
  layers.conv2d("c", { padding: 1 }),
  layers.relu(),
  layers.maxPool2d(3),
  layers.flatten(),
  layers.linear("f"),
];
const OPTIONS = { inputShape: [2, 6, 6], device: "wasm" };

function expectedOf(x, count) {
  const args = { stride: [1, 1], padding: [1, 1], dilation: [1, 1], groups: 1 };
  const { data } = conv(TENSORS["c.weight"].data, [4, 2, 3, 3], TENSORS["c.bias"].data, x, [count, 2, 6, 6], args);
  const pooled = [];
  for (let plane = 0; plane < 4 * count; plane++) {
    for (const top of [0, 3]) {
      for (const left of [0, 3]) {
        let most = 0;
        for (let i = 0; i < 9; i++) {
          most = Math.max(most, data[plane * 36 + (top + Math.floor(i / 3)) * 6 + left + (i % 3)]);
        }
        pooled.push(most);
      }
    }
  }
  return linear(TENSORS["f.weight"].data, 5, 16, undefined, pooled);
}

test("a batch of any size gives what the layers compute, in one pass over the file", async () => {
  const file = fileOf(TENSORS);
  const net = await Sequence.load(file, LAYERS, OPTIONS);
  assert.deepEqual(file.passes, [["c.weight", "c.bias", "f.weight"]]);
  assert.deepEqual(net.shape([7, 2, 6, 6]), [7, 5]);
  for (const count of [0, 1, 2, 9]) {
    const x = inputsOf(72 * count);
    const before = x.slice();
    assert.ok(error(await net.run(x), expectedOf(x, count)) < 2e-6);
    assert.deepEqual(x, before);
  }
});

test("calls that overlap are served one after the other", async () => {
  const net = await Sequence.load(fileOf(TENSORS), LAYERS, OPTIONS);
  const inputs = Array.from({ length: 8 }, (_, i) => inputsOf(72 * (1 + (i % 3)), i));
  const found = await Promise.all(inputs.map((x) => net.run(x)));
  inputs.forEach((x, i) => {
    assert.ok(error(found[i], expectedOf(x, x.length / 72)) < 2e-6);
  });
});

test("explain gives facts of each layer", async () => {
  const net = await Sequence.load(fileOf(TENSORS), LAYERS, OPTIONS);
  const facts = net.explain();
  assert.deepEqual(
    facts.map(({ layer }) => layer),
    ["conv2d c", "relu", "maxPool2d", "flatten", "linear f"],
  );
  assert.deepEqual(facts[0].shape, [4, 2, 3, 3]);
  assert.equal(facts[0].survivors, TENSORS["c.weight"].data.filter((weight) => weight !== 0).length);
  assert.equal(facts[0].denseBytes, 288);
  assert.equal(facts[0].kernel, "wasm, packed");
  assert.equal(facts[4].kernel, "wasm, dense"); // small, and of a high density
  assert.deepEqual(facts[1], {
    layer: "relu",
    shape: undefined,
    survivors: 0,
    kernel: "wasm",
    heldBytes: 0,
    denseBytes: 0,
  });
  assert.equal(net.device, "wasm");
});

test("sparse weights of many distinct rows take a fraction of their dense bytes", async () => {
  const file = fileOf({ "f.weight": { shape: [512, 1024], data: weightsOf(512 * 1024, 0.05, 16) } });
  const net = await Sequence.load(file, [layers.linear("f")], { inputShape: [1024], device: "wasm" });
  const [fact] = net.explain();
  assert.equal(fact.kernel, "wasm, packed");
  assert.ok(fact.heldBytes < 0.03 * fact.denseBytes, `${fact.heldBytes} of ${fact.denseBytes}`);
});

test("tied weights are held once", async () => {
  const data = weightsOf(256 * 256, 0.05, 16);
  const file = fileOf({
    "a.weight": { shape: [256, 256], data },
    "b.weight": { shape: [256, 256], tiedTo: "a.weight" },
  });
  const net = await Sequence.load(file, [layers.linear("a"), layers.linear("b")], {
    inputShape: [256],
    device: "wasm",
  });
  const [a, b] = net.explain();
  assert.ok(b.heldBytes < 100 && a.heldBytes > 5000);
  const x = inputsOf(256);
  assert.ok(error(await net.run(x), linear(data, 256, 256, undefined, linear(data, 256, 256, undefined, x))) < 3e-6);
});

test("memory does not grow from run to run", async () => {
  const backend = await createWasmBackend();
  const step = await backend.prepare({ kind: "activation", of: "relu", slope: 0 });
  await backend.run([step], new Float32Array(300000), [300000]);
  const bytes = backend.memoryBytes;
  for (let i = 0; i < 20; i++) await backend.run([step], new Float32Array(300000), [300000]);
  assert.equal(backend.memoryBytes, bytes);
  assert.ok(bytes < 8 * 300000 + 3 * 65536 + 131072);
});

const refused = (code, pattern) => (found) => {
  assert.equal(found.name, "DczError");
  assert.equal(found.code, code);
  assert.match(found.message, pattern);
  return true;
};

for (const [story, tensors, made, options, code, pattern] of [
  [
    "a missing tensor",
    TENSORS,
    [layers.linear("g")],
    {},
    "not-found",
    /layer 1 \(linear g\): .* no tensor g.weight; it has c.weight/,
  ],
  [
    "a tensor of other dimensions",
    TENSORS,
    [layers.linear("c")],
    {},
    "argument",
    /c.weight has shape \[4, 2, 3, 3\], expected 2 dim/,
  ],
  [
    "a bias of another length",
    { ...TENSORS, "f.bias": { shape: [3], data: [1, 2, 3] } },
    LAYERS,
    {},
    "argument",
    /layer 5 \(linear f\): f.bias has shape \[3\], expected \[5\]/,
  ],
  [
    "an integer weight",
    { "f.weight": { shape: [1, 2], data: [1, 2], dtype: "I32" } },
    [layers.linear("f")],
    {},
    "argument",
    /dtype I32, expected F64/,
  ],
  [
    "tensors that no layer takes",
    TENSORS,
    LAYERS.slice(0, 4),
    {},
    "argument",
    /no layer takes f.weight; with strict: false/,
  ],
  [
    "layers that do not fit each other",
    TENSORS,
    LAYERS.filter((_, i) => i !== 3),
    {},
    "argument",
    /layer 4 \(linear f\): expected vectors of 16, found .* \[1, 4, 2, 2\]; a flatten\(\)/,
  ],
  [
    "inputs of other channels",
    TENSORS,
    LAYERS,
    { inputShape: [3, 6, 6] },
    "argument",
    /layer 1 \(conv2d c\): expected \(count, 2, h, w\), found an input of shape \[1, 3, 6, 6\]/,
  ],
  [
    "windows larger than images",
    TENSORS,
    LAYERS,
    { inputShape: [2, 2, 2] },
    "argument",
    /layer 3 \(maxPool2d\): windows of \[3, 3\] do not fit/,
  ],
  ["no inputShape", TENSORS, LAYERS, { inputShape: undefined }, "argument", /inputShape/],
]) {
  test(`${story} is refused before anything is read`, async () => {
    const file = fileOf(tensors);
    await assert.rejects(Sequence.load(file, made, { ...OPTIONS, ...options }), refused(code, pattern));
    assert.deepEqual(file.passes, []);
  });
}

test("wrong arguments of layers are refused at once", () => {
  for (const [make, pattern] of [
    [() => layers.conv2d("c", { stride: 0 }), /conv2d c: stride is an integer from 1 to \d+, or 2 of them; found 0/],
    [() => layers.conv2d("c", { stride: 2 ** 32 }), /stride .* found 4294967296/],
    [() => layers.conv2d("c", { groups: 2 ** 32 }), /groups .* found 4294967296/],
    [() => layers.conv2d("c", { padding: [1, 2, 3] }), /padding .* found \[1,2,3\]/],
    [() => layers.conv2d("c", { groups: 0 }), /groups is an integer from 1/],
    [() => layers.maxPool2d(2, { padding: 2 }), /padding is at most half/],
    [() => layers.flatten(-1), /startDim/],
    [() => layers.softmax(0.5), /dim is an integer/],
    [() => layers.adaptiveAvgPool2d(0), /outputSize/],
  ]) {
    assert.throws(make, refused("argument", pattern));
  }
});

test("arguments that a layer does not take are refused, not ignored", () => {
  for (const [make, pattern] of [
    [() => layers.maxPool2d(3, 2), /maxPool2d: its options are an object with stride, padding, ceilMode; found 2/],
    [() => layers.avgPool2d(3, { strides: 2 }), /avgPool2d: .* countIncludePad; found strides/],
    [() => layers.conv2d("c", { pad: 1 }), /conv2d c: .* stride, padding, dilation, groups; found pad/],
    [() => layers.conv2d(3, 8, 3), /conv2d: takes the name of its tensors, .*; found 3/],
    [() => layers.linear(784, 300), /linear: takes the name of its tensors, .*; found 784/],
    [() => layers.batchNorm("n", 0.001), /batchNorm n: .* with eps; found 0.001/],
    [() => layers.leakyRelu({ negativeSlope: 0.2 }), /negativeSlope is a number; found Object/],
    [() => layers.maxPool2d(), /maxPool2d: kernelSize is .*; found undefined/],
  ]) {
    assert.throws(make, refused("argument", pattern));
  }
});

for (const [story, given, pattern] of [
  ["a promise for the file", { file: Promise.resolve() }, /needs a file that open\(\) gave; found a Promise: await it/],
  ["an address for the file", { file: "model.dcz" }, /needs a file .*; found "model.dcz"/],
  ["one layer for the list", { list: layers.linear("f") }, /layers are a list .*; found Object/],
  ["a layer that was not called", { list: [layers.relu] }, /found in it the function relu: call it/],
  ["an unknown device", { options: { ...OPTIONS, device: "gpu" } }, /device is "auto", .*; found "gpu"/],
  ["no options", { options: undefined }, /inputShape is a list of integers/],
]) {
  test(`${story} is refused`, () => {
    const { file = fileOf(TENSORS), list = LAYERS } = given;
    const options = "options" in given ? given.options : OPTIONS;
    return assert.rejects(Sequence.load(file, list, options), refused("argument", pattern));
  });
}

test("inputs of a wrong type or length are refused, and the next call works", async () => {
  const net = await Sequence.load(fileOf(TENSORS), LAYERS, OPTIONS);
  await assert.rejects(net.run(new Float64Array(72)), refused("argument", /Float32Array; found Float64Array/));
  await assert.rejects(net.run(new Float32Array(73)), refused("argument", /has 73 numbers, expected a multiple of 72/));
  const x = inputsOf(72);
  assert.ok(error(await net.run(x), expectedOf(x, 1)) < 2e-6);
});

test("strict: false leaves tensors out", async () => {
  const net = await Sequence.load(fileOf(TENSORS), LAYERS.slice(0, 4), { ...OPTIONS, strict: false });
  assert.equal((await net.run(inputsOf(72))).length, 16);
});

test("a file that ends in the middle of a tensor is an error", async () => {
  const file = fileOf(TENSORS);
  const { slices } = file;
  file.slices = async function* (names) {
    yield* slices(names.slice(0, 2));
  };
  await assert.rejects(Sequence.load(file, LAYERS, OPTIONS), refused("payload", /f.weight lacks 320 bytes/));
});

test("more memory than there is gives an error, and the next call works", async () => {
  const net = await Sequence.load(fileOf({}), [layers.relu()], { inputShape: [1 << 29], device: "wasm" });
  // 2^31 bytes for the input, and as many for the output
  const huge = Object.defineProperty(new Float32Array(0), "length", { value: 1 << 29 });
  await assert.rejects(net.run(huge), refused("memory", /no memory for 2147483648 bytes/));
  assert.equal((await net.run(new Float32Array(0))).length, 0);
});

test("a message names some of many tensors that no layer takes", async () => {
  const many = Array.from({ length: 1000 }, (_, i) => [`left.${i}`, { shape: [1], data: [0] }]);
  const file = fileOf({ ...TENSORS, ...Object.fromEntries(many) });
  const loading = Sequence.load(file, LAYERS, OPTIONS);
  await assert.rejects(loading, ({ message }) => /left\.0, .* and 990 more/.test(message) && message.length < 300);
});

test("a closed sequence ends the calls under way, and refuses others", async () => {
  const net = await Sequence.load(fileOf(TENSORS), LAYERS, OPTIONS);
  const running = net.run(inputsOf(72));
  net.close();
  await running;
  await assert.rejects(net.run(inputsOf(72)), refused("argument", /closed/));
});
