// Compiles the C sources to WebAssembly: dist/NAME.wasm for each of MODULES, without any import.

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

const run = promisify(execFile);
const BROWSER = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * `sources` are paths from browser/: those under `fast` are compiled for speed, those under `small` for size. `flags`
 * are the compiler's for all of them. What a source marks by `export_name` is exported.
 */
export const MODULES = {
  decode: {
    fast: [
      "wasm/decode.c",
      "wasm/crc.c",
      "wasm/words.c",
      ...["adaptive", "block", "elements", "fast", "lanes", "mixer", "sequence", "table"].map(full),
    ],
    small: [
      "../device/dcz.c",
      "../device/rows.c",
      ...["adaptive_begin", "adaptive_codebook", "deflate", "full", "inflate", "input", "mask", "paper", "small"].map(
        full,
      ),
    ],
    flags: ["-DDCZ_WITH_ALL", "-DDCZ_NAME=0", "-DDCZ_AXES=32", "-DDCZ_WORDS_ELSEWHERE", "-DDCZ_ROOMY"],
  },
  compute: {
    fast: [
      ...["heap", "pack", "vector", "vectors", "dense", "rows", "tiles", "images", "layers"].map(
        (name) => `wasm/compute_${name}.c`,
      ),
      "../device/nn_elementwise_f32.c",
      "../device/nn_exp.c",
    ],
    small: [],
    flags: [],
  },
};

function full(name) {
  return `../device/full/${name}.c`;
}

const TARGET = ["-target", "wasm32-freestanding", "-ffreestanding", "-nostdinc", "-msimd128", "-mbulk-memory"];
const STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"];
// The same bytes in every folder, and nothing in them that the module does not need.
const PLAIN = ["-g0", "-fno-sanitize=undefined", "-fno-stack-protector", "-ffunction-sections", "-fdata-sections"];
const LINK = ["--no-entry", "--strip-all", "--gc-sections", "-z", "stack-size=65536", "--initial-memory=196608"];
const SHRINK = [
  "-Oz",
  "--enable-simd",
  "--enable-bulk-memory",
  "--enable-sign-ext",
  "--enable-nontrapping-float-to-int",
];

/** The Python that has ziglang: DCZ_PYTHON, the environment of the repository, or python3. */
function python() {
  const own = join(BROWSER, "..", ".venv", "bin", "python");
  return process.env.DCZ_PYTHON ?? (existsSync(own) ? own : "python3");
}

async function compilerHeaders() {
  try {
    const { stdout } = await run(python(), ["-c", "import ziglang; print(ziglang.__path__[0])"]);
    return join(stdout.trim(), "lib", "include");
  } catch (cause) {
    const remedy = "Install browser/requirements.txt there, or name another Python by DCZ_PYTHON";
    throw new Error(`${python()} has no compiler for WebAssembly, the package ziglang. ${remedy}.`, { cause });
  }
}

/** Runs tasks, as many at a time as there are processors. */
async function each(tasks) {
  const left = [...tasks];
  const work = async () => {
    for (let task = left.shift(); task !== undefined; task = left.shift()) await task();
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
}

/** Builds one module of the sources in `root` (browser/), and gives its bytes. */
export async function buildModule(name, root = BROWSER) {
  const { fast, small, flags } = MODULES[name];
  const folder = await mkdtemp(join(tmpdir(), "dcz-wasm-"));
  try {
    const headers = ["-isystem", join(root, "wasm", "include"), "-isystem", await compilerHeaders()];
    const options = [...TARGET, ...STRICT, ...PLAIN, ...flags, ...headers, `-I${join(root, "..", "device")}`];
    const zig = (...args) => run(python(), ["-m", "ziglang", ...args]);
    const object = (source) => join(folder, source.replaceAll("/", "_").replace(".c", ".o"));
    const compile = (level) => (source) => () =>
      zig("cc", ...options, level, "-c", join(root, source), "-o", object(source));
    await each([...fast.map(compile("-O2")), ...small.map(compile("-Oz"))]);
    const linked = join(folder, "linked.wasm");
    const shrunk = join(folder, "shrunk.wasm");
    await zig("wasm-ld", ...LINK, ...[...fast, ...small].map(object), "-o", linked);
    await run("node", [join(BROWSER, "node_modules", "binaryen", "bin", "wasm-opt"), ...SHRINK, linked, "-o", shrunk]);
    return await readFile(shrunk);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Builds all modules into a folder, and prints bytes and hash of each. */
export async function buildWasm(to = join(BROWSER, "dist")) {
  await mkdir(to, { recursive: true });
  for (const name of Object.keys(MODULES)) {
    const bytes = await buildModule(name);
    await writeFile(join(to, `${name}.wasm`), bytes);
    const hash = createHash("sha256").update(bytes).digest("hex");
    console.log(`${name}.wasm  ${bytes.length} bytes, ${gzipSync(bytes, { level: 9 }).length} gzipped, sha256 ${hash}`);
  }
}
