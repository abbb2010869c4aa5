// Converters give the bytes that `dcz decompress` writes. The files are made by `python -m browser.test.make_converted`.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { DczError, folderFiles, open, openInWorker } from "../dist/index.js";
import { same } from "./handmade.mjs";

const DATA = fileURLToPath(new URL("../../build/browser/data/converted/", import.meta.url));
const REFUSED = JSON.parse(readFileSync(`${DATA}refused.json`, "utf8"));
const names = (suffix) =>
  readdirSync(DATA)
    .filter((name) => name.endsWith(suffix))
    .map((name) => name.slice(0, -suffix.length));
const read = (name) => new Uint8Array(readFileSync(DATA + name));
const bytes = (name) => open(read(name));

for (const name of names(".onnx")) {
  test(`the ONNX model ${name} has the bytes that Python writes`, async () => {
    const file = await bytes(`${name}.dcz`);
    same(await file.toOnnx(), read(`${name}.onnx`));
    await assert.rejects(file.toSafetensors(), { name: "DczError", code: "unsupported", message: /toOnnx/ });
  });
}

for (const name of names(".safetensors")) {
  test(`the tensors of ${name} have the bytes that Python writes`, async () => {
    const file = await bytes(`${name}.dcz`);
    same(await file.toSafetensors(), read(`${name}.safetensors`));
    await assert.rejects(file.toOnnx(), { code: "unsupported", message: /toSafetensors/ });
  });
}

for (const name of Object.keys(REFUSED)) {
  test(`the tensors of ${name} are refused, for safetensors has not all of their dtypes`, async () => {
    await assert.rejects((await bytes(`${name}.dcz`)).toSafetensors(), { code: "unsupported", message: /is of I4/ });
  });
}

test("a worker gives the same", async (t) => {
  const model = await openInWorker(read("branches.dcz"));
  t.after(() => model.close());
  same(await model.toOnnx(), read("branches.onnx"));
  await assert.rejects(model.toSafetensors(), { code: "unsupported" });
  const tensors = await openInWorker(read("mixed.dcz"));
  t.after(() => tensors.close());
  same(await tensors.toSafetensors(), read("mixed.safetensors"));
});

test("a folder comes back bit for bit", async () => {
  const found = new Map();
  for await (const { name, data } of folderFiles(await bytes("folder.dcz"))) found.set(name, data);
  const expected = readdirSync(`${DATA}folder`, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .map((each) => `${each.parentPath}/${each.name}`.slice(`${DATA}folder/`.length));
  assert.deepEqual([...found.keys()].sort(), expected.sort());
  for (const name of expected) same(found.get(name), read(`folder/${name}`), name);
});

test("a file without a folder has no files", async () => {
  const files = folderFiles(await bytes("lenet-5.dcz"));
  await assert.rejects(files.next(), (error) => error instanceof DczError && error.code === "unsupported");
});
