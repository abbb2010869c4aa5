// One fully connected layer of AlexNet, dense and compressed, on each device of the visitor.

import { createWasmBackend } from "../dist/compute/backend.js";
import { createGpuBackend } from "../dist/gpu/backend.js";
import { open } from "../dist/index.js";
import { pack } from "../dist/network/pack.js";
import { fetching, median } from "./numbers.js";
import { serve } from "./serve.js";
import { rememberingFetch } from "./wire.js";

const FILE = "models/alexnet.dcz";
const ROUNDS = 21;
const LIMIT_MS = 2000;
const FETCH_PART = 0.6;

serve({ measure });

/** Fetches the layer `name`, runs it everywhere in both ways; the figures as layers.js shows them. */
async function measure({ name }, tell) {
  const weight = `${name}.weight`;
  let file;
  tell({ stage: `Fetching ${name}`, part: 0 });
  const remembering = rememberingFetch((loaded) => {
    if (!file) return;
    const { bytes } = file.entries.get(weight);
    tell({ stage: fetching(name, loaded, bytes), part: FETCH_PART * Math.min(loaded / bytes, 1) });
  });
  const began = performance.now();
  file = await open(new URL(FILE, location.href), { fetch: remembering.fetch });
  const { data: bias } = await file.tensor(`${name}.bias`);
  const packed = await pack(file, weight, () => true);
  const download = { ...remembering.counted };
  const packMilliseconds = performance.now() - began - download.milliseconds;
  const [rows, cols] = packed.shape;
  const x = input(cols);
  let dense;
  const makeDense = async () => {
    dense ??= await pack(file, weight, () => false);
    return dense;
  };
  tell({ stage: `Running ${name} on the CPU`, part: FETCH_PART });
  const devices = [await on(await createWasmBackend(), packed, bias, x, makeDense)];
  const gpu = await findGpu();
  if (!gpu.missing) {
    tell({ stage: `Running ${name} on the GPU`, part: 0.8 });
    try {
      devices.push(await on(await createGpuBackend(), packed, bias, x, makeDense));
    } catch (error) {
      gpu.missing = error.code === "device-lost" ? "the GPU went away meanwhile" : `the GPU gave up (${error.message})`;
    }
  }
  const { bytes, denseBytes } = file.entries.get(weight);
  file.close();
  return { name, rows, cols, bytes, denseBytes, download, packMilliseconds, devices, gpu };
}

async function on(backend, packed, bias, x, makeDense) {
  if (!backend) throw new Error("no adapter");
  try {
    return await both(backend, packed, bias, x, makeDense);
  } finally {
    backend.close();
  }
}

// Dense and compressed on one device. A device that has no memory for the dense weights runs the compressed alone.
async function both(backend, packed, bias, x, makeDense) {
  const compressed = await load(backend, packed, bias, x);
  let dense;
  let refused;
  try {
    dense = await load(backend, await makeDense(), bias, x);
  } catch (error) {
    if (error.code !== "memory" && !(error instanceof RangeError)) throw error;
    refused = "no memory for it";
  }
  await takeTurns(backend, dense ? [dense, compressed] : [compressed], x);
  return {
    device: backend.name,
    compressed: figures(compressed),
    dense: dense && figures(dense),
    refused,
    change: dense && largestChange(dense.y, compressed.y),
  };
}

async function load(backend, weights, bias, x) {
  const began = performance.now();
  const step = await backend.prepare({ kind: "linear", weights, bias });
  const y = await backend.run([step], x, [1, x.length]);
  return { step, y, firstMilliseconds: performance.now() - began, all: [] };
}

async function takeTurns(backend, contenders, x) {
  const end = performance.now() + LIMIT_MS;
  for (let round = 0; round < ROUNDS && (round < 3 || performance.now() < end); round++) {
    for (const { step, all } of contenders) {
      const began = performance.now();
      await backend.run([step], x, [1, x.length]);
      all.push(performance.now() - began);
    }
  }
}

function figures({ step, firstMilliseconds, all }) {
  return { firstMilliseconds, milliseconds: median(all), heldBytes: step.heldBytes };
}

// As activations behind a ReLU are: half of them zero.
function input(length) {
  return Float32Array.from({ length }, (_, index) => Math.max(Math.sin(index * index), 0));
}

function largestChange(expected, found) {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return expected.reduce((most, value, index) => Math.max(most, Math.abs(value - found[index])), 0) / largest;
}

async function findGpu() {
  if (!navigator.gpu) return { missing: "this browser has no WebGPU" };
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (!adapter) return { missing: "WebGPU finds no GPU here" };
  const { description, vendor, architecture } = adapter.info;
  return { name: description || [vendor, architecture].filter(Boolean).join(" ") || "the GPU" };
}
