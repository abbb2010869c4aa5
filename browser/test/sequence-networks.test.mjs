// The networks of reproduce/results give the outputs that Python's deepcompression.runtime gives (make_data.py).

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { conv2d, flatten, linear, maxPool2d, open, relu, Sequence } from "../dist/index.js";
import { error } from "./twins.mjs";

const DATA = new URL("../../build/browser/data/", import.meta.url);
const NETWORKS = new URL("../../reproduce/results/", import.meta.url);

/** The arrays of NAME.bin by their names; undefined if make_data.py has not made it. */
function arrays(name) {
  if (!existsSync(new URL(`${name}.json`, DATA))) return undefined;
  const { tensors } = JSON.parse(readFileSync(new URL(`${name}.json`, DATA), "utf8"));
  const bytes = new Uint8Array(readFileSync(new URL(`${name}.bin`, DATA)));
  const of = ({ name, offset, bytes: length }) => [name, new Float32Array(bytes.slice(offset, offset + length).buffer)];
  return Object.fromEntries(tensors.map(of));
}

const openNetwork = (name) => open(new Uint8Array(readFileSync(new URL(`${name}.dcz`, NETWORKS))));

const digits = arrays("digits");
for (const [name, layers] of [
  [
    "lenet-5",
    [conv2d("conv1"), maxPool2d(2), conv2d("conv2"), maxPool2d(2), flatten(), linear("fc1"), relu(), linear("fc2")],
  ],
  ["lenet-300-100", [flatten(), linear("fc1"), relu(), linear("fc2"), relu(), linear("fc3")]],
]) {
  test(`${name} reads digits as Python does, one at a time and all at once`, {
    skip: digits ? false : "python -m browser.test.make_data has not been run",
  }, async () => {
    const file = await openNetwork(name);
    const net = await Sequence.load(file, layers, { inputShape: [1, 28, 28], device: "wasm" });
    file.close();
    assert.ok(error(await net.run(digits.images), digits[name]) < 1e-5);
    const count = digits.images.length / 784;
    for (let i = 0; i < count; i++) {
      const y = await net.run(digits.images.subarray(784 * i, 784 * (i + 1)));
      assert.ok(error(y, digits[name].subarray(10 * i, 10 * (i + 1))) < 1e-5);
    }
  });
}

const alexnet = arrays("alexnet");
test("AlexNet's fully connected layers give what Python gives, from a sixteenth of their dense bytes", {
  skip: alexnet ? false : "python -m browser.test.make_data --long has not been run",
}, async () => {
  const file = await openNetwork("alexnet");
  const layers = [linear("fc6"), relu(), linear("fc7"), relu(), linear("fc8")];
  const net = await Sequence.load(file, layers, { inputShape: [9216], device: "wasm", strict: false });
  file.close();
  assert.ok(error(await net.run(alexnet.x), alexnet.fc8) < 1e-5);
  const four = new Float32Array(4 * 9216);
  for (let i = 0; i < 4; i++) four.set(alexnet.x, i * 9216);
  const y = await net.run(four);
  for (let i = 0; i < 4; i++) assert.ok(error(y.subarray(1000 * i, 1000 * (i + 1)), alexnet.fc8) < 1e-5);
  for (const { kernel, heldBytes, denseBytes } of net.explain()) {
    assert.ok(denseBytes === 0 || (kernel === "wasm, packed" && heldBytes < denseBytes / 16));
  }
});
