// The networks of reproduce/results give the outputs that Python's deepcompression.runtime gives (make_data.py).

import assert from "node:assert/strict";
import { test } from "node:test";
import { Sequence } from "../dist/index.js";
import { ALEXNET, arrays, LENET_5, LENET_300_100, openNetwork } from "./networks.mjs";
import { error } from "./twins.mjs";

const digits = arrays("digits");
for (const [name, layers] of [
  ["lenet-5", LENET_5],
  ["lenet-300-100", LENET_300_100],
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
  const net = await Sequence.load(file, ALEXNET, { inputShape: [9216], device: "wasm", strict: false });
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
