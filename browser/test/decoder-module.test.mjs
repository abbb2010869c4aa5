// The module itself: its size, that it asks for nothing, that anyone gets the same bytes, and what memory it takes.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test from "node:test";
import { gzipSync } from "node:zlib";
import { ComputeInstance } from "../dist/compute/instance.js";
import { Decoder } from "../dist/decode/decoder.js";
import { compiled } from "../dist/wasm.js";
import { buildModule } from "../scripts/wasm.mjs";
import { bytesOf, denseOf, indexOf, payloadOf, ROOT } from "./decoding.mjs";

const DIST = `${ROOT}browser/dist/`;
const PAGE = new URL("data:text/html,<!doctype html><title>Not here</title>");
const WASM = readFileSync(`${DIST}decode.wasm`);

/** A module and, once, all that it imports. */
function withImports(name, found = new Map()) {
  if (found.has(name)) return found;
  const text = readFileSync(`${DIST}${name}`, "utf8");
  found.set(name, text);
  for (const [, other] of text.matchAll(/from "(\.+\/.+?)"/g)) withImports(join(dirname(name), other), found);
  return found;
}

function fileAndIndex(decoder, network) {
  const file = bytesOf(`reproduce/results/${network}.dcz`);
  const entries = new Map(indexOf(decoder, file).entries.map((entry) => [entry.name, entry]));
  return { file, entries };
}

function sizesOf(parts) {
  const sum = (sizes) => sizes.reduce((total, size) => total + size, 0);
  return [sum(parts.map((part) => part.length)), sum(parts.map((part) => gzipSync(part, { level: 9 }).length))];
}

test("the module with every coder takes at most 60 kB, 25 kB gzipped; with its scripts 75 and 30", () => {
  const scripts = [...withImports("decode/decoder.js").values()].map((text) => Buffer.from(text));
  assert.ok(scripts.length >= 5);
  for (const [parts, most, mostGzipped] of [
    [[WASM], 60_000, 25_000],
    [[WASM, ...scripts], 75_000, 30_000],
  ]) {
    const [bytes, gzipped] = sizesOf(parts);
    assert.ok(bytes <= most && gzipped <= mostGzipped, `${bytes} bytes, ${gzipped} gzipped`);
  }
});

test("the module imports nothing", async () => {
  assert.deepEqual(WebAssembly.Module.imports(await WebAssembly.compile(WASM)), []);
});

test("a build in another folder gives the same bytes", async () => {
  const folder = mkdtempSync(join(tmpdir(), "another folder "));
  try {
    cpSync(`${ROOT}device`, join(folder, "device"), { recursive: true });
    cpSync(`${ROOT}browser/wasm`, join(folder, "browser", "wasm"), { recursive: true });
    const built = await buildModule("decode", join(folder, "browser"));
    assert.equal(Buffer.compare(built, WASM), 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a large layer takes its payload, the work buffer of its coder, and less than 300 kB", async () => {
  const decoder = await Decoder.create();
  const { file, entries } = fileAndIndex(decoder, "alexnet");
  const entry = entries.get("fc6.weight");
  assert.deepEqual([entry.coder, entry.denseBytes], ["small", 4 * 4096 * 9216]);
  const slices = decoder.decode(entry, payloadOf(entry, file));
  let bytes = 0;
  for (let i = 0; i < 20; ++i) bytes += slices.next().value.length;
  assert.equal(bytes, 20 * 36_864);
  const work = 26_000 + 16 * 9216 + 18_500; // docs/format.md, "All coders on a device"
  assert.ok(decoder.memoryBytes < entry.bytes + work + 300_000, `${decoder.memoryBytes} bytes`);
});

test("memory of a large tensor goes back with the next small one", async () => {
  const decoder = await Decoder.create();
  const { file, entries } = fileAndIndex(decoder, "alexnet");
  const decode = (name) => decoder.decode(entries.get(name), payloadOf(entries.get(name), file)).next();
  decode("fc6.weight");
  assert.ok(decoder.memoryBytes > 3_500_000);
  decode("conv2.weight");
  assert.ok(decoder.memoryBytes < 1_000_000, `${decoder.memoryBytes} bytes`);
});

test("a browser that gives no memory is an error with the bytes needed, and the decoder goes on", async (t) => {
  const decoder = await Decoder.create();
  const { file, entries } = fileAndIndex(decoder, "alexnet");
  const [large, small] = ["fc6.weight", "conv1.weight"].map((name) => entries.get(name));
  const before = denseOf(decoder, small, payloadOf(small, file));
  t.mock.method(WebAssembly.Memory.prototype, "grow", () => {
    throw new RangeError("failed to grow memory");
  });
  assert.throws(() => denseOf(decoder, large, payloadOf(large, file)), {
    code: "memory",
    message: /needs \d{7} bytes/,
  });
  assert.deepEqual(denseOf(decoder, small, payloadOf(small, file)), before);
});

test("a browser that gives no further instance is an error with a code", async (t) => {
  const { Instance } = WebAssembly;
  t.mock.method(WebAssembly, "Instance", () => {
    throw new RangeError("could not allocate memory");
  });
  await assert.rejects(Decoder.create(), { name: "DczError", code: "memory" });
  await assert.rejects(ComputeInstance.create(), { name: "DczError", code: "memory" });
  t.mock.restoreAll();
  assert.equal(WebAssembly.Instance, Instance);
  await Decoder.create();
});

test("a trap replaces the instance", async () => {
  const decoder = await Decoder.create();
  const { file, entries } = fileAndIndex(decoder, "lenet-5");
  const entry = entries.get("conv1.weight");
  const before = denseOf(decoder, entry, payloadOf(entry, file));
  decoder.instance.next = () => {
    throw new WebAssembly.RuntimeError("unreachable");
  };
  assert.throws(() => denseOf(decoder, entry, payloadOf(entry, file)), { code: "payload", message: /unreachable/ });
  assert.deepEqual(denseOf(decoder, entry, payloadOf(entry, file)), before);
});

test("a page in the place of a module is named, with what to serve", async () => {
  const named = ({ code, message }) => code === "network" && /no WebAssembly\. Serve .* beside/.test(message);
  await assert.rejects(compiled(PAGE), named);
});
