// Times layers of the committed networks in WebAssembly, packed and dense, beside ONNX Runtime Web on one thread:
//   node benchmarks/compute.mjs [ROUNDS] [LAYER...] > ../benchmarks/results/browser_compute.json
// ONNX Runtime Web is that of test/peers (npm ci there). All versions of a layer take turns.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { createWasmBackend } from "../dist/compute/backend.js";
import { packsOf } from "../dist/compute/choice.js";
import { open } from "../dist/index.js";
import { axesOf, outputShape } from "../dist/network/operations.js";
import { pack } from "../dist/network/pack.js";
import { oneLayer } from "./onnx.mjs";

const ort = createRequire(new URL("../test/peers/package.json", import.meta.url))("onnxruntime-web");
ort.env.wasm.numThreads = 1;

/** Beyond so many bytes of dense weights ONNX Runtime Web would need more memory than 32-bit addresses reach. */
const PEER_BYTES = 2 ** 28;
/** Rounds take so long in all, at least; layers of microseconds have more rounds. */
const LEAST_MILLISECONDS = 200;

const fc = (network, name, counts) => counts.map((count) => ({ network, name, given: (cols) => [count, cols] }));
const image = (network, name, channels, size, options = {}) => [
  { network, name, given: () => [1, channels, size, size], stride: 1, padding: 0, groups: 1, ...options },
];

const CASES = [
  image("lenet-5", "conv1", 1, 28),
  image("lenet-5", "conv2", 20, 12),
  fc("lenet-5", "fc1", [1, 16]),
  fc("lenet-5", "fc2", [1, 16]),
  fc("lenet-300-100", "fc1", [1, 16]),
  fc("lenet-300-100", "fc2", [1, 16]),
  fc("lenet-300-100", "fc3", [1, 16]),
  image("alexnet", "conv1", 3, 227, { stride: 4 }),
  image("alexnet", "conv2", 96, 27, { padding: 2, groups: 2 }),
  image("alexnet", "conv3", 256, 13, { padding: 1 }),
  image("alexnet", "conv4", 384, 13, { padding: 1, groups: 2 }),
  image("alexnet", "conv5", 384, 13, { padding: 1, groups: 2 }),
  fc("alexnet", "fc6", [1, 4, 16]),
  fc("alexnet", "fc7", [1, 4, 16, 64]),
  fc("alexnet", "fc8", [1, 4, 16]),
  fc("vgg-16", "fc6", [1]),
  fc("vgg-16", "fc7", [1, 16]),
  fc("vgg-16", "fc8", [1, 16]),
].flat();

/** Numbers from -1 to 1. */
function inputOf(count) {
  let state = 17;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

function operationOf({ stride, padding, groups }, weights) {
  if (stride === undefined) return { kind: "linear", weights, bias: undefined };
  const kernel = axesOf(weights.shape);
  const flat = { ceil: false, dimensions: 2, dilation: [1, 1, 1] };
  const window = { kernel, stride: [1, stride, stride], padding: [0, padding, padding], ...flat };
  return { kind: "conv", weights, bias: undefined, window, groups };
}

async function ours(settings, weights, x, given) {
  const backend = await createWasmBackend();
  const step = await backend.prepare(operationOf(settings, weights));
  return { kernel: step.kernel, heldBytes: step.heldBytes, run: () => backend.run([step], x, given) };
}

async function peer({ stride, padding, groups }, dense, x, given, output) {
  if (dense.bytes > PEER_BYTES) return undefined;
  const pads = [padding, padding, padding, padding];
  const bytes =
    stride === undefined
      ? oneLayer("Gemm", { transB: 1 }, dense, given, output)
      : oneLayer("Conv", { strides: [stride, stride], pads, group: groups }, dense, given, output);
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const tensor = new ort.Tensor("float32", x, given);
  const run = async () => (await session.run({ x: tensor })).y.data;
  return { run, close: () => session.release() };
}

/** Median and least milliseconds of runs that take turns. */
async function timed(runs, rounds) {
  const times = runs.map(() => []);
  for (const run of runs) await run();
  const start = performance.now();
  for (let round = 0; round < rounds || performance.now() - start < LEAST_MILLISECONDS * runs.length; round++) {
    for (const [i, run] of runs.entries()) {
      const before = performance.now();
      await run();
      times[i].push(performance.now() - before);
    }
  }
  return times.map((all) => all.sort((a, b) => a - b)).map((all) => ({ median: all[all.length >> 1], least: all[0] }));
}

function difference(found, expected) {
  let [most, largest] = [0, 0];
  for (const [i, number] of expected.entries()) {
    most = Math.max(most, Math.abs(number - found[i]));
    largest = Math.max(largest, Math.abs(number));
  }
  return most / largest;
}

async function measure(settings, packed, dense, rounds) {
  const given = settings.given(packed.cols);
  const x = inputOf(given.reduce((a, b) => a * b));
  const output = outputShape(operationOf(settings, packed), given);
  const [compressed, own] = [await ours(settings, packed, x, given), await ours(settings, dense, x, given)];
  const other = await peer(settings, dense, x, given, output);
  const expected = await own.run();
  const versions = [compressed, own, ...(other ? [other] : [])];
  for (const { run } of versions) {
    const error = difference(await run(), expected);
    if (!(error < 1e-4)) throw new Error(`${settings.name}: outputs differ by ${error}`);
  }
  const [packedMs, denseMs, ortMs] = await timed(
    versions.map(({ run }) => run),
    rounds,
  );
  await other?.close();
  return {
    layer: `${settings.network} ${settings.name}`,
    weights: packed.shape,
    input: given,
    density: packed.survivors / (packed.rows * packed.cols),
    distinct: packed.codebook.length,
    kernel: compressed.kernel,
    packs: packsOf(packed.shape.length)(packed.rows, packed.cols, packed.survivors, packed.codebook.length),
    heldBytes: compressed.heldBytes,
    denseBytes: dense.bytes,
    packedMs,
    denseMs,
    ...(ortMs !== undefined && { ortMs }),
  };
}

const [rounds = 5, ...only] = process.argv.slice(2).map((word, i) => (i ? word : Number(word)));
const results = [];
let held;
for (const settings of CASES) {
  const { network, name } = settings;
  if (only.length > 0 && !only.includes(name) && !only.includes(network)) continue;
  if (held?.network !== network || held?.name !== name) {
    const url = new URL(`../../reproduce/results/${network}.dcz`, import.meta.url);
    const file = await open(new Uint8Array(readFileSync(url)));
    const weight = `${name}.weight`;
    held = { network, name, packed: await pack(file, weight), dense: await pack(file, weight, () => false) };
    file.close();
  }
  results.push(await measure(settings, held.packed, held.dense, rounds));
  console.error(JSON.stringify(results.at(-1)));
}
const git = (...words) => execFileSync("git", words, { encoding: "utf8" }).trim();
const machine = { cpu: cpus()[0]?.model, cpus: cpus().length, node: process.version };
const command = `node benchmarks/compute.mjs ${process.argv.slice(2).join(" ")}`.trim();
const about = { command, commit: git("rev-parse", "HEAD"), machine, onnxruntimeWeb: ort.env.versions.web };
console.log(JSON.stringify({ ...about, results }, null, 1));
