// Assembles the demo page in build/browser/site, for any server: demo/ and dist/, networks, digits, ONNX Runtime Web.

import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { build } from "esbuild";
import { bytes } from "../demo/numbers.js";
import { Decoder } from "../dist/decode/decoder.js";
import { HEAD_BYTES } from "../dist/source/http.js";

const BROWSER = dirname(dirname(fileURLToPath(import.meta.url)));
const ROOT = dirname(BROWSER);
const SITE = join(ROOT, "build", "browser", "site");
const MODELS = join(ROOT, "build", "browser", "models");
const ORT = join(BROWSER, "test", "peers", "node_modules", "onnxruntime-web", "dist");
const SIZES = { "lenet-300-100": "LeNet-300-100", "lenet-5": "LeNet-5", alexnet: "AlexNet", "vgg-16": "VGG-16" };
const NETWORKS = join(ROOT, "reproduce", "results");

const LAYERS = ["fc6", "fc7", "fc8"];
const DOCS = {
  browser: "the npm package",
  format: "the file format",
  "compress-a-file": "compressing a file",
  training: "compressing while you train",
  results: "sizes and speeds beside other tools",
};
/** What runs by itself: the page, and a worker for each section that computes. */
const PROGRAMS = ["main.js", "layers-worker.js", "reader-worker.js", "opener-worker.js", "service-worker.js"];
/** What the first result needs, beside main.js and the chunks that it imports. */
const FIRST = ["index.html", "style.css", "icon.svg", "decode.wasm", "compute.wasm", "models/lenet-5.dcz"];
/** What is fetched when a visitor asks for it, and kept from then on; all other files are kept from the first visit. */
const LATER = /^(docs|ort)\/|^models\/(alexnet|ddddocr)/;

const read = (...path) => readFileSync(join(...path));
const number = new Intl.NumberFormat("en");

function copy(from, to, wanted = () => true) {
  if (!existsSync(from)) return false;
  mkdirSync(join(SITE, to), { recursive: true });
  for (const name of readdirSync(from).filter(wanted)) cpSync(join(from, name), join(SITE, to, name));
  return true;
}

/** The second test image of each digit, 28 x 28 bytes: the first 3 is one of the few that the network misreads. */
function digits() {
  const mnist = (name) => gunzipSync(read(ROOT, "data", "mnist", `t10k-${name}-ubyte.gz`));
  const labels = mnist("labels-idx1").subarray(8);
  const images = mnist("images-idx3").subarray(16);
  const second = Array.from({ length: 10 }, (_, digit) => labels.indexOf(digit, labels.indexOf(digit) + 1));
  return Buffer.concat(second.map((at) => images.subarray(784 * at, 784 * (at + 1))));
}

function sizesTable() {
  const rows = Object.entries(SIZES).map(([network, name]) => {
    const { report, ...result } = JSON.parse(read(NETWORKS, `${network}.json`));
    const [before, after] = [result.dense_test_error_percent, result.test_error_percent].map(
      (error) => `${error.toFixed(2)}\u00a0%`,
    );
    const errors = `test error ${before}, compressed ${after}`;
    const cells = [
      `<th scope="row">${name.replaceAll("-", "\u2011")}<small>${errors}</small></th>`,
      `<td class="number">${bytes(report.dense_bytes)}</td>`,
      `<td class="number compressed">${bytes(report.file_bytes)}<small>${Math.round(report.ratio)}x\u00a0smaller</small></td>`,
    ];
    return `<tr>${cells.join("")}</tr>`;
  });
  return `<table><caption>Four networks of the paper, trained and compressed by this project</caption><thead><tr><td></td>
    <th scope="col" class="number">dense</th><th scope="col" class="number">file</th></tr></thead>
    <tbody>${rows.join("\n")}</tbody></table>`;
}

async function layersBytes() {
  const file = read(NETWORKS, "alexnet.dcz");
  const decoder = await Decoder.create();
  const { entries } = decoder.index(file.subarray(0, Decoder.indexBytes(file)));
  const wanted = entries.filter(({ name }) => LAYERS.some((layer) => name.startsWith(`${layer}.`)));
  // each layer opens the file anew
  return wanted.reduce((sum, { bytes }) => sum + bytes, LAYERS.length * HEAD_BYTES);
}

/** The page with what only the assembly knows. */
async function fillPage({ reader, modules }) {
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  const docs = Object.entries(DOCS).filter(([name]) => existsSync(join(SITE, "docs", `${name}.txt`)));
  const links = docs.map(([name, text]) => `<a href="docs/${name}.txt">${text}</a>`).join(", ");
  let readerSize = "the model";
  if (reader) {
    const { dcz_bytes } = JSON.parse(read(MODELS, "ddddocr.json"));
    readerSize = megabytes(
      dcz_bytes + readdirSync(join(SITE, "ort")).reduce((sum, name) => sum + size(`ort/${name}`), 0),
    );
  }
  // so that nothing waits for main.js to name it
  const preloads = [
    ...modules.map((path) => `<link rel="modulepreload" href="${path}">`),
    ...["decode.wasm", "compute.wasm"].map((path) => `<link rel="preload" as="fetch" crossorigin href="${path}">`),
  ];
  const filled = {
    "<!-- preloads -->": preloads.join("\n"),
    "<!-- sizes -->": sizesTable(),
    "<!-- links -->": `${links}.`,
    '<span id="layers-size">the layers</span>': megabytes(await layersBytes()),
    '<span id="reader-size">the model</span>': readerSize,
    'id="reader" ': reader ? 'id="reader" ' : 'id="reader" data-missing ',
  };
  let page = read(SITE, "index.html").toString();
  for (const [place, content] of Object.entries(filled)) {
    if (!page.includes(place)) throw new Error(`index.html has no ${place}`);
    page = page.replace(place, () => content);
  }
  writeFileSync(join(SITE, "index.html"), page);
}

const size = (path) => statSync(join(SITE, path)).size;

function allFiles(folder = "") {
  return readdirSync(join(SITE, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    return entry.isDirectory() ? allFiles(path) : [path];
  });
}

/** Modules and style, in few files and few bytes. Gives the files that main.js needs before it runs. */
async function bundle() {
  const { metafile } = await build({
    entryPoints: [...PROGRAMS, "style.css"].map((name) => join(BROWSER, "demo", name)),
    outdir: SITE,
    absWorkingDir: SITE,
    bundle: true,
    splitting: true,
    format: "esm",
    target: "es2022",
    minify: true,
    metafile: true,
    // modules find their .wasm files one folder up, as in the package
    chunkNames: "modules/[hash]",
    external: ["node:*", "./ort/*"],
    logLevel: "warning",
  });
  const needed = new Set();
  const need = (path) => {
    if (needed.has(path)) return;
    needed.add(path);
    for (const { path: next, kind } of metafile.outputs[path]?.imports ?? []) {
      if (kind === "import-statement") need(next);
    }
  };
  need("main.js");
  return [...needed];
}

/** The lists of service-worker.js: the hash of each file. */
function writeFiles() {
  const hashes = (paths) =>
    Object.fromEntries(paths.map((path) => [path, createHash("sha256").update(read(SITE, path)).digest("base64")]));
  const paths = allFiles().filter((path) => path !== "service-worker.js");
  const lists = {
    core: hashes(paths.filter((path) => !LATER.test(path))),
    later: hashes(paths.filter((path) => LATER.test(path))),
  };
  writeFileSync(join(SITE, "files.js"), `// Made by scripts/site.mjs.\nself.FILES = ${JSON.stringify(lists)};\n`);
}

function printSizes(modules) {
  const paths = allFiles();
  const first = paths.filter((path) => FIRST.includes(path) || modules.includes(path));
  const stages = {
    "first result": first,
    "rest of the page": paths.filter((path) => !first.includes(path) && !LATER.test(path)),
    "AlexNet (its layers are fetched by ranges)": paths.filter((path) => path.includes("alexnet")),
    "text: model": paths.filter((path) => path.includes("ddddocr")),
    "text: ONNX Runtime Web": paths.filter((path) => path.startsWith("ort/")),
    docs: paths.filter((path) => path.startsWith("docs/")),
  };
  for (const [stage, files] of Object.entries(stages)) {
    const bytes = files.reduce((sum, path) => sum + size(path), 0);
    console.log(`${number.format(bytes).padStart(12)} B  ${String(files.length).padStart(3)} files  ${stage}`);
  }
}

rmSync(SITE, { recursive: true, force: true });
copy(join(BROWSER, "demo"), "", (name) => /\.(html|svg|webmanifest)$/.test(name));
copy(join(BROWSER, "dist"), "", (name) => name.endsWith(".wasm"));
const modules = await bundle();
copy(NETWORKS, "models", (name) => ["lenet-5.dcz", "alexnet.dcz"].includes(name));
writeFileSync(join(SITE, "examples.bin"), digits());
const reader =
  copy(ORT, "ort", (name) => /^(ort\.wasm\.min\.mjs|ort-wasm-simd-threaded\.(mjs|wasm))$/.test(name)) &&
  copy(MODELS, "models", (name) => /^ddddocr.*\.(dcz|json|png)$/.test(name));
mkdirSync(join(SITE, "docs"));
for (const name of Object.keys(DOCS)) {
  const page = join(ROOT, "docs", `${name}.md`);
  if (existsSync(page)) cpSync(page, join(SITE, "docs", `${name}.txt`));
}
await fillPage({ reader, modules });
writeFiles();
printSizes(modules);
if (!reader)
  console.log("without text: `python -m browser.demo.make_models` and `npm ci` in test/peers make its parts");
