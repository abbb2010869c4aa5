// What a visitor loads for one network, by this package and by other runtimes: bytes of every file, plain, by gzip and
// by brotli. Writes benchmarks/results/browser_bytes.json.
//
//   node benchmarks/bytes.mjs
//
// Needs dist/, the packages of test/peers, the models of `python -m browser.test.peers.make_models`, and in
// build/benchmarks/packages the package ddddocr, which that command fetches.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { open } from "../dist/index.js";
import { buildSync } from "../test/peers/node_modules/esbuild/lib/main.js";

const place = (name) => fileURLToPath(new URL(name, import.meta.url));
const [ROOT, DIST, PEERS] = [place("../../"), place("../dist/"), place("../test/peers/node_modules/")];
const MODELS = `${ROOT}build/browser/models/`;
const ORT = `${PEERS}onnxruntime-web/dist/`;
const OWN_ORT = `${PEERS}@huggingface/transformers/node_modules/onnxruntime-web/dist/`;
const PACKED = `${ROOT}build/browser/packed.json`;

/** Levels of gzip and brotli: larger files would take minutes. */
function levels(bytes) {
  if (bytes <= 2 ** 20) return { gzip: 9, brotli: 11 };
  return bytes <= 2 ** 25 ? { gzip: 9, brotli: 9 } : { gzip: 6, brotli: 5 };
}

/** The module that esbuild makes of this text, without what it does not use. */
function bundle(contents) {
  const stdin = { contents, resolveDir: PEERS };
  const options = { stdin, bundle: true, minify: true, format: "esm", write: false, logLevel: "error" };
  return buildSync({ ...options, external: ["fs", "util", "crypto", "string_decoder"] }).outputFiles[0].contents;
}

const sizes = new Map();
// what was packed before, by levels and digest
const known = existsSync(PACKED) ? JSON.parse(readFileSync(PACKED, "utf8")) : {};

/** Bytes by gzip and by brotli. */
function packed(bytes) {
  const { gzip, brotli } = levels(bytes.length);
  const key = `${gzip} ${brotli} ${createHash("sha256").update(bytes).digest("hex")}`;
  if (known[key] === undefined) {
    const params = { [constants.BROTLI_PARAM_QUALITY]: brotli, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
    known[key] = [gzipSync(bytes, { level: gzip }), brotliCompressSync(bytes, { params })].map((each) => each.length);
    mkdirSync(dirname(PACKED), { recursive: true });
    writeFileSync(PACKED, JSON.stringify(known));
  }
  return known[key];
}

/** What one file takes on the way; `name` says what it is. */
function size(name, bytes) {
  if (!sizes.has(name)) {
    // a server sends a file as it is where packing it brings nothing
    const [gzip, brotli] = packed(bytes).map((each) => Math.min(each, bytes.length));
    sizes.set(name, { file: name, plain: bytes.length, gzip, brotli });
  }
  return sizes.get(name);
}

const file = (path) => size(path.slice(path.lastIndexOf("/") + 1), readFileSync(path));

/** Files and their sum. */
function way(...files) {
  const sum = (key) => files.reduce((total, each) => total + each[key], 0);
  return { plain: sum("plain"), gzip: sum("gzip"), brotli: sum("brotli"), files };
}

const LAYERS = "Sequence, conv2d, maxPool2d, flatten, linear, relu";
const runs = () => [
  size("deepcompression that runs layers", bundle(`export { open, ${LAYERS} } from "${DIST}index.js";`)),
  file(`${DIST}decode.wasm`),
  file(`${DIST}compute.wasm`),
];
const opens = (what) => [
  size(`deepcompression: ${what}`, bundle(`export { ${what} } from "${DIST}index.js";`)),
  file(`${DIST}decode.wasm`),
];
const onnxRuntime = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"].map((name) =>
  file(ORT + name),
);
const operations = "add, conv2d, matMul, maxPool, relu, reshape, tensor, transpose, setBackend";
const tfjs = [
  size(
    "tfjs with its WebAssembly backend",
    bundle(`export { ${operations} } from "@tensorflow/tfjs-core"; import "@tensorflow/tfjs-backend-wasm";`),
  ),
  file(`${PEERS}@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm`),
];
const transformers = [
  file(`${PEERS}@huggingface/transformers/dist/transformers.min.js`),
  file(`${OWN_ORT}ort-wasm-simd-threaded.asyncify.mjs`),
  file(`${OWN_ORT}ort-wasm-simd-threaded.asyncify.wasm`),
  ...["config.json", "tokenizer.json", "tokenizer_config.json"].map((name) => file(`${MODELS}minilm/${name}`)),
];

const network = async (name) => {
  const path = `${ROOT}reproduce/results/${name}.dcz`;
  const opened = await open(path);
  const dense = size(`${name}, dense`, await opened.toSafetensors());
  opened.close();
  return { dcz: file(path), dense };
};
const networks = {};
for (const name of ["lenet-5", "alexnet"]) {
  const { dcz, dense } = await network(name);
  networks[name] = {
    deepcompression: way(...runs(), dcz),
    "deepcompression and ONNX Runtime Web": way(...opens("open"), ...onnxRuntime, dcz),
    "ONNX Runtime Web": way(...onnxRuntime, dense),
    "tfjs-wasm": way(...tfjs, dense),
  };
}
networks.ddddocr = {
  "deepcompression and ONNX Runtime Web": way(...opens("open"), ...onnxRuntime, file(`${MODELS}ddddocr.dcz`)),
  "ONNX Runtime Web": way(...onnxRuntime, file(`${MODELS}ddddocr.onnx`)),
  "ONNX Runtime Web, original": way(
    ...onnxRuntime,
    file(`${ROOT}build/benchmarks/packages/ddddocr-1.6.1/ddddocr/common.onnx`),
  ),
};
networks["all-MiniLM-L6-v2"] = {
  "deepcompression and transformers.js": way(
    ...opens("dczFetch"),
    ...transformers,
    size("MiniLM as .dcz", readFileSync(`${MODELS}minilm/onnx/model.dcz`)),
  ),
  "transformers.js": way(...transformers, size("MiniLM as ONNX", readFileSync(`${MODELS}minilm/onnx/model.onnx`))),
};

const git = (...words) => execFileSync("git", words, { cwd: ROOT, encoding: "utf8" }).trim();
const packages = ["onnxruntime-web", "@huggingface/transformers", "@tensorflow/tfjs-core", "esbuild"];
const versions = packages.map((each) => [each, JSON.parse(readFileSync(`${PEERS}${each}/package.json`)).version]);
const result = {
  command: "node browser/benchmarks/bytes.mjs",
  commit: git("rev-parse", "HEAD"),
  changed: git("status", "--porcelain", "--untracked-files=no", ":(top,exclude)benchmarks/results") !== "",
  versions: { node: process.versions.node, ...Object.fromEntries(versions) },
  machine: { cpu: cpus()[0].model, cores: cpus().length, system: process.platform },
  notes: [
    "All files that a page loads, but its own. gzip has level 9 and brotli quality 11; brotli has 9 above 1 MiB, and above " +
      "32 MiB gzip has 6 and brotli 5. A file that does not become smaller counts as it is.",
    "deepcompression and tfjs are bundled and minified by esbuild, without unused parts. ONNX Runtime Web is its " +
      "smallest build, which runs on the CPU alone, and transformers.js is as it ships. It loads an ONNX Runtime of its " +
      "own.",
    "Dense networks have the values of the .dcz file: LeNet-5 and AlexNet as safetensors, without an ONNX graph.",
  ],
  networks,
};
writeFileSync(`${ROOT}benchmarks/results/browser_bytes.json`, `${JSON.stringify(result, undefined, 1)}\n`);
for (const [name, ways] of Object.entries(networks)) {
  for (const [how, { plain, gzip, brotli }] of Object.entries(ways)) {
    const numbers = [plain, gzip, brotli].map((each) => each.toLocaleString("en").padStart(12));
    console.log(`${name.padEnd(18)}${how.padEnd(38)}${numbers.join("")}`);
  }
}
