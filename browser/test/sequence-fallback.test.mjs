// A sequence on "auto" whose GPU is missing, lost or too small: WebAssembly goes on, and the caller is told.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createWasmBackend } from "../dist/compute/backend.js";
import { DczError } from "../dist/errors.js";
import { conv2d, flatten, linear, maxPool2d, relu } from "../dist/network/layers.js";
import { Sequence } from "../dist/network/sequence.js";
import { error, fileOf, inputsOf, weightsOf } from "./twins.mjs";

const TENSORS = {
  "c.weight": { shape: [4, 2, 3, 3], data: weightsOf(72, 0.4, 16) },
  "c.bias": { shape: [4], data: inputsOf(4, 2) },
  "f.weight": { shape: [5, 16], data: weightsOf(80, 0.3, 8) },
};
const LAYERS = [conv2d("c", { padding: 1 }), relu(), maxPool2d(3), flatten(), linear("f")];
const OPTIONS = { inputShape: [2, 6, 6], device: "wasm" };
const refused = (code, pattern) => (thrown) =>
  thrown instanceof DczError && thrown.code === code && pattern.test(thrown.message);

const x = inputsOf(144);
const expected = await (await Sequence.load(fileOf(TENSORS), LAYERS, OPTIONS)).run(x);

/**
 * A backend of a GPU that computes in WebAssembly. It has no kernel for `lacks`, throws the codes of `refuses` when it
 * gets operations of these kinds, and `code` from run number `lostAt` on.
 */
async function fakeGpu({ lacks, refuses = {}, lostAt = Number.POSITIVE_INFINITY, code = "device-lost" } = {}) {
  const wasm = await createWasmBackend();
  let runs = 0;
  const backend = {
    name: "webgpu",
    closed: 0,
    async prepare(operation) {
      if (operation.kind in refuses) throw new DczError(refuses[operation.kind], "the GPU refuses this");
      const step = operation.kind === lacks ? undefined : await wasm.prepare(operation);
      return step && { ...step, operation };
    },
    async run(...all) {
      runs += 1;
      if (runs >= lostAt) throw new DczError(code, "the GPU went away");
      return wasm.run(...all);
    },
    close() {
      backend.closed += 1;
    },
  };
  return backend;
}

const onGpu = (backend, device, reasons) => ({
  ...OPTIONS,
  device,
  gpu: async () => backend,
  onFallback: (reason) => reasons.push(reason),
});

test("a device that is lost in the middle costs no call: WebAssembly repeats it, and goes on", async () => {
  const reasons = [];
  const backend = await fakeGpu({ lostAt: 2 });
  const net = await Sequence.load(fileOf(TENSORS), LAYERS, onGpu(backend, "auto", reasons));
  assert.equal(net.device, "webgpu");
  const results = await Promise.all([net.run(x), net.run(x), net.run(x)]);
  for (const y of results) assert.ok(error(y, expected) < 2e-6);
  assert.equal(net.device, "wasm");
  assert.deepEqual(reasons, ["the GPU went away"]);
  assert.equal(backend.closed, 1);
  assert.match(net.explain()[0].kernel, /^wasm/);
});

test("a lost device is an error for who asked for it", async () => {
  const net = await Sequence.load(fileOf(TENSORS), LAYERS, onGpu(await fakeGpu({ lostAt: 1 }), "webgpu", []));
  await assert.rejects(net.run(x), refused("device-lost", /went away/));
});

test("a layer without a kernel on the GPU: all in WebAssembly, or an error that names it", async () => {
  const reasons = [];
  const backend = await fakeGpu({ lacks: "pool" });
  const net = await Sequence.load(fileOf(TENSORS), LAYERS, onGpu(backend, "auto", reasons));
  assert.equal(net.device, "wasm");
  assert.deepEqual(reasons, ['webgpu has no kernel for maxPool2d; use "wasm"']);
  assert.equal(backend.closed, 1);
  assert.ok(error(await net.run(x), expected) < 2e-6);
  const asked = Sequence.load(fileOf(TENSORS), LAYERS, onGpu(await fakeGpu({ lacks: "pool" }), "webgpu", []));
  await assert.rejects(asked, refused("unsupported", /no kernel for maxPool2d/));
});

test("a GPU that cannot take the layers leaves them to WebAssembly", async () => {
  for (const code of ["device-lost", "memory", "size", "unsupported"]) {
    const reasons = [];
    const backend = await fakeGpu({ refuses: { linear: code } });
    const net = await Sequence.load(fileOf(TENSORS), LAYERS, onGpu(backend, "auto", reasons));
    assert.equal(net.device, "wasm");
    assert.deepEqual(reasons, ["the GPU refuses this"]);
    assert.equal(backend.closed, 1);
    assert.ok(error(await net.run(x), expected) < 2e-6);
    const asked = Sequence.load(fileOf(TENSORS), LAYERS, onGpu(await fakeGpu({ refuses: { linear: code } }), "webgpu"));
    await assert.rejects(asked, refused(code, /refuses this/));
  }
});

test("a driver that refuses a shader costs no call, and too many inputs do not cost the GPU", async () => {
  const refusing = onGpu(await fakeGpu({ lostAt: 1, code: "unsupported" }), "auto", []);
  const net = await Sequence.load(fileOf(TENSORS), LAYERS, refusing);
  assert.ok(error(await net.run(x), expected) < 2e-6);
  assert.equal(net.device, "wasm");
  const small = await Sequence.load(
    fileOf(TENSORS),
    LAYERS,
    onGpu(await fakeGpu({ lostAt: 1, code: "memory" }), "auto", []),
  );
  await assert.rejects(small.run(x), refused("memory", /went away/));
  assert.equal(small.device, "webgpu");
});

test("an adapter that throws is none", async (t) => {
  const had = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  const requestAdapter = () => Promise.reject(new Error("blocked"));
  Object.defineProperty(globalThis, "navigator", { value: { gpu: { requestAdapter } }, configurable: true });
  t.after(() =>
    had ? Object.defineProperty(globalThis, "navigator", had) : Reflect.deleteProperty(globalThis, "navigator"),
  );
  const reasons = [];
  const onFallback = (reason) => reasons.push(reason);
  const net = await Sequence.load(fileOf(TENSORS), LAYERS, { ...OPTIONS, device: "auto", onFallback });
  assert.equal(net.device, "wasm");
  assert.match(reasons[0], /blocked/);
});

test("without an adapter a sequence runs in WebAssembly, and says so", async () => {
  const reasons = [];
  const net = await Sequence.load(fileOf(TENSORS), LAYERS, onGpu(undefined, "auto", reasons));
  assert.equal(net.device, "wasm");
  assert.match(reasons[0], /no WebGPU adapter/);
  const asked = Sequence.load(fileOf(TENSORS), LAYERS, onGpu(undefined, "webgpu", reasons));
  await assert.rejects(asked, refused("unsupported", /no WebGPU adapter/));
});
