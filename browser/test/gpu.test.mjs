// Networks on the GPU give what Python's runtime gives; whatever fails there is an error with a code, and nothing hangs.

import assert from "node:assert/strict";
import { test } from "node:test";
import "./gpu-node.mjs";
import { createGpuBackend, GpuBackend } from "../dist/gpu/backend.js";
import { Sequence } from "../dist/index.js";
import { Dense } from "../dist/network/packed.js";
import { packSlowly, randomNumbers, randomShared } from "./gpu-twin.mjs";
import { ALEXNET, arrays, LENET_5, openNetwork } from "./networks.mjs";
import { error } from "./twins.mjs";

async function load(name, layers, options) {
  const file = await openNetwork(name);
  const net = await Sequence.load(file, layers, { strict: false, device: "webgpu", ...options });
  file.close();
  return net;
}

const digits = arrays("digits");
test("LeNet-5 reads digits as Python does, one at a time and all at once", {
  skip: digits ? false : "python -m browser.test.make_data has not been run",
}, async () => {
  const net = await load("lenet-5", LENET_5, { inputShape: [1, 28, 28] });
  assert.equal(net.device, "webgpu");
  assert.ok(error(await net.run(digits.images), digits["lenet-5"]) < 1e-5);
  for (const i of [0, 7]) {
    const y = await net.run(digits.images.subarray(784 * i, 784 * (i + 1)));
    assert.ok(error(y, digits["lenet-5"].subarray(10 * i, 10 * (i + 1))) < 1e-5);
  }
  net.close();
});

const alexnet = arrays("alexnet");
test("AlexNet's fully connected layers give what Python gives, from less than a tenth of their dense bytes", {
  skip: alexnet ? false : "python -m browser.test.make_data --long has not been run",
}, async () => {
  const net = await load("alexnet", ALEXNET, { inputShape: [9216] });
  assert.ok(error(await net.run(alexnet.x), alexnet.fc8) < 1e-5);
  const four = new Float32Array(4 * 9216);
  for (let i = 0; i < 4; i++) four.set(alexnet.x, i * 9216);
  const y = await net.run(four);
  for (let i = 0; i < 4; i++) assert.ok(error(y.subarray(1000 * i, 1000 * (i + 1)), alexnet.fc8) < 1e-5);
  for (const { kernel, heldBytes, denseBytes } of net.explain()) {
    assert.ok(denseBytes === 0 || (kernel === "webgpu, packed" && heldBytes < denseBytes / 10));
  }
  net.close();
});

const random = randomNumbers(3);
const shared = randomShared(random, [64, 100], 0.2, 16);
const packed = () => ({ kind: "linear", weights: packSlowly(shared, 4, false), bias: undefined });
const coded = (code, pattern = /./) => {
  return (thrown) => thrown.name === "DczError" && thrown.code === code && pattern.test(thrown.message);
};

test("held bytes are those of the buffers that a layer has on the GPU", async () => {
  const backend = await createGpuBackend();
  const made = [];
  const { device } = backend;
  const createBuffer = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    made.push(descriptor.size);
    return createBuffer(descriptor);
  };
  const operation = packed();
  const sum = () => made.splice(0).reduce((all, bytes) => all + bytes, 0);
  const step = await backend.prepare(operation);
  assert.equal(step.heldBytes, sum());
  // tied weights are there already: only the other bias is new
  const tied = await backend.prepare({ ...operation, bias: new Float32Array(64) });
  assert.equal(tied.heldBytes, 4 * 64);
  assert.equal(sum(), 4 * 64);
  backend.close();
});

test("a device that is lost in the middle rejects what is under way, and what comes later", async () => {
  const backend = await createGpuBackend();
  const step = await backend.prepare(packed());
  await backend.run([step], new Float32Array(100), [1, 100]);
  const under = backend.run([step], new Float32Array(200), [2, 100]);
  backend.device.destroy();
  await assert.rejects(under, coded("device-lost"));
  assert.equal(typeof (await backend.lost), "string");
  await assert.rejects(backend.run([step], new Float32Array(100), [1, 100]), coded("device-lost", /wasm/));
  await assert.rejects(backend.prepare(packed()), coded("device-lost"));
  backend.close();
});

test("a sequence whose device is lost goes on in WebAssembly, once, and says so", async () => {
  const devices = [];
  const { requestDevice } = globalThis.GPUAdapter.prototype;
  globalThis.GPUAdapter.prototype.requestDevice = async function (descriptor) {
    devices.push(await requestDevice.call(this, descriptor));
    return devices.at(-1);
  };
  const reasons = [];
  const onFallback = (reason) => reasons.push(reason);
  try {
    const net = await load("lenet-5", LENET_5, { inputShape: [1, 28, 28], device: "auto", onFallback });
    assert.equal(net.device, "webgpu");
    const x = Float32Array.from({ length: 784 }, random);
    const before = await net.run(x);
    const [first, second] = [net.run(x), net.run(x)];
    devices[0].destroy();
    assert.ok(error(await first, before) < 1e-5);
    assert.ok(error(await second, before) < 1e-5);
    assert.equal(net.device, "wasm");
    assert.equal(reasons.length, 1);
    net.close();
    const fixed = await load("lenet-5", LENET_5, { inputShape: [1, 28, 28], device: "webgpu" });
    devices[1].destroy();
    await assert.rejects(fixed.run(x), coded("device-lost"));
    fixed.close();
  } finally {
    globalThis.GPUAdapter.prototype.requestDevice = requestDevice;
  }
});

test("close() ends a run that is under way, and leaves the caller's device alone", async () => {
  const own = await createGpuBackend();
  const backend = await createGpuBackend({ device: own.device });
  const step = await backend.prepare(packed());
  const under = backend.run([step], new Float32Array(100), [1, 100]);
  backend.close();
  await assert.rejects(under, coded("aborted"));
  const x = Float32Array.from({ length: 100 }, random);
  const y = await own.run([await own.prepare(packed())], x, [1, 100]);
  assert.equal(y.length, 64);
  own.close();
});

test("what exceeds the GPU is an error that names the limit, and later runs work", async () => {
  const { device, traits } = await createGpuBackend();
  const backend = new GpuBackend(device, true, { ...traits, bindingBytes: 4096 });
  const wide = { kind: "linear", weights: new Dense([2, 2000], new Float32Array(4000)), bias: undefined };
  await assert.rejects(backend.prepare(wide), coded("size", /maxStorageBufferBindingSize/));
  const step = await backend.prepare(packed());
  await assert.rejects(
    backend.run([step], new Float32Array(100 * 50), [50, 100]),
    coded("memory", /maxStorageBufferBindingSize.*fewer/),
  );
  assert.equal((await backend.run([step], new Float32Array(100), [1, 100])).length, 64);
  backend.close();
});

test("memory that the GPU refuses is an error with a code", async () => {
  const backend = await createGpuBackend();
  const { device } = backend;
  const scopes = [];
  device.pushErrorScope = (filter) => scopes.push(filter);
  device.popErrorScope = async () =>
    scopes.pop() === "out-of-memory" ? new globalThis.GPUOutOfMemoryError("full") : null;
  await assert.rejects(backend.prepare(packed()), coded("memory", /[0-9]+ bytes.*full/));
  delete device.pushErrorScope;
  delete device.popErrorScope;
  const step = await backend.prepare(packed());
  assert.equal((await backend.run([step], new Float32Array(100), [1, 100])).length, 64);
  backend.close();
});

test("what the driver refuses is an error with a code", async () => {
  const backend = await createGpuBackend();
  const step = await backend.prepare(packed());
  const createBuffer = backend.device.createBuffer.bind(backend.device);
  backend.device.createBuffer = (descriptor) => createBuffer({ ...descriptor, size: 2 ** 40 });
  await assert.rejects(backend.run([step], new Float32Array(100), [1, 100]), coded("unsupported", /max buffer size/));
  backend.device.createBuffer = createBuffer;
  assert.equal((await backend.run([step], new Float32Array(100), [1, 100])).length, 64);
  backend.close();
});

test("without WebGPU or an adapter there is no backend; an adapter that has too little is named", async () => {
  const { navigator } = globalThis;
  const use = (gpu) => Object.defineProperty(globalThis, "navigator", { value: { gpu }, configurable: true });
  use(undefined);
  assert.equal(await createGpuBackend(), undefined);
  use({ requestAdapter: async () => null });
  assert.equal(await createGpuBackend(), undefined);
  const adapter = await navigator.gpu.requestAdapter();
  const limits = new Proxy(adapter.limits, {
    get: (all, name) => (name === "maxStorageBuffersPerShaderStage" ? 4 : all[name]),
  });
  use({ requestAdapter: async () => ({ limits }) });
  await assert.rejects(createGpuBackend(), coded("unsupported", /maxStorageBuffersPerShaderStage is 4/));
  use(navigator.gpu);
});

test("a sequence takes a GPU with options, and float16 stays float32 where the GPU lacks it", async () => {
  const { navigator } = globalThis;
  const software = navigator.gpu;
  const asked = [];
  const requestAdapter = (options) => {
    asked.push(options);
    return software.requestAdapter(options);
  };
  Object.defineProperty(globalThis, "navigator", { value: { gpu: { requestAdapter } }, configurable: true });
  const gpu = () => createGpuBackend({ powerPreference: "low-power", activations: "float16" });
  const net = await load("lenet-5", LENET_5, { inputShape: [1, 28, 28], gpu });
  Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true });
  assert.deepEqual(asked, [{ powerPreference: "low-power" }]);
  assert.equal((await net.run(new Float32Array(784))).length, 10);
  net.close();
});

test("no inputs give no outputs", async () => {
  const backend = await createGpuBackend();
  assert.equal((await backend.run([await backend.prepare(packed())], new Float32Array(0), [0, 100])).length, 0);
  backend.close();
});

test("infinities and what is no number stay with their vector", async () => {
  const backend = await createGpuBackend();
  const matrix = randomShared(random, [33, 70], 0.1, 16);
  for (const weights of [packSlowly(matrix, 4, false), new Dense(matrix.shape, matrix.dense)]) {
    const steps = [await backend.prepare({ kind: "linear", weights, bias: undefined })];
    for (const [at, value] of [
      [70, Number.POSITIVE_INFINITY],
      [139, Number.NaN],
    ]) {
      const x = new Float32Array(3 * 70).fill(0.5);
      x[at] = value;
      const y = await backend.run(steps, x, [3, 70]);
      assert.ok(y.subarray(0, 33).every(Number.isFinite) && y.subarray(66).every(Number.isFinite));
    }
  }
  backend.close();
});
