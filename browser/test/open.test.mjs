// open() of bytes, blobs, streams, responses and paths, and of files that are no .dcz file, or not a whole one.
import assert from "node:assert/strict";
import { mkdtemp, open as openHandle, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { DczError, open } from "../dist/index.js";
import { collect, dcz, EXPECTED, FILE, KINDS, noise, streamOf } from "./writing.mjs";

const code = (expected) => (error) => error instanceof DczError && error.code === expected;

async function onDisk(use) {
  const folder = await mkdtemp(join(tmpdir(), "dcz-"));
  try {
    const path = join(folder, "a model.dcz");
    await writeFile(path, FILE);
    return await use(path);
  } finally {
    await rm(folder, { recursive: true });
  }
}

for (const [kind, make] of Object.entries(KINDS)) {
  test(`${kind} opens, and gives every tensor in one pass`, async () => {
    const file = await open(make());
    assert.equal(file.bytes, FILE.length);
    assert.deepEqual([...file.metadata], [["about", "a test"]]);
    assert.deepEqual([...file.entries.keys()], ["a", "b", "tied", "none", "c"]);
    assert.deepEqual(await collect(file), EXPECTED);
    file.close();
  });
}

test("a disk that gives fewer bytes than were asked for is asked again", (t) =>
  onDisk(async (path) => {
    const handle = await openHandle(path);
    const { read } = Object.getPrototypeOf(handle);
    await handle.close();
    t.mock.method(Object.getPrototypeOf(handle), "read", function (buffer, at, length, position) {
      return read.call(this, buffer, at, Math.min(length, 10_000), position);
    });
    assert.deepEqual(await collect(await open(path)), EXPECTED);
  }));

test("a path and a file: URL open in Node and Deno", () =>
  onDisk(async (path) => {
    for (const source of [path, pathToFileURL(path), pathToFileURL(path).href]) {
      const file = await open(source);
      assert.deepEqual(await collect(file), EXPECTED);
      assert.deepEqual((await file.tensor("b")).data, EXPECTED.get("b"));
      file.close();
    }
    await assert.rejects(open(`${path}.gone`), code("network"));
  }));

test("a stream of single bytes gives every tensor", async () => {
  const small = dcz([{ name: "x", data: noise(300) }]);
  assert.deepEqual((await collect(await open(streamOf(small, 1)))).get("x"), noise(300));
});

test("every truncation is refused, from bytes and from a stream", async () => {
  const small = dcz([
    { name: "x", data: noise(9) },
    { name: "y", data: noise(5) },
  ]);
  for (let length = 0; length < small.length; length++) {
    const cut = small.subarray(0, length);
    await assert.rejects(open(cut), code("truncated"));
    const whole = async () => collect(await open(streamOf(cut, 4)));
    await assert.rejects(whole(), code("truncated"));
  }
});

test("bytes behind the last payload are refused, from a stream at the end of the pass", async () => {
  const more = Uint8Array.from([...FILE, 0]);
  await assert.rejects(open(more), code("index"));
  const file = await open(streamOf(more, 1000));
  const names = [];
  await assert.rejects(async () => {
    for await (const { name } of file.tensors()) names.push(name);
  }, code("index"));
  assert.deepEqual(names, [...EXPECTED.keys()]);
  const none = Uint8Array.from([...dcz([]), 0]);
  await assert.rejects(async () => collect(await open(streamOf(none, 5))), code("index"));
});

test("a file without tensors opens and gives none", async () => {
  for (const source of [dcz([]), streamOf(dcz([]), 3)]) {
    const file = await open(source);
    assert.equal((await collect(file)).size, 0);
  }
});

test("other bytes are no .dcz file", async () => {
  const page = new File(["<!doctype html>"], "page.html");
  await assert.rejects(open(page), (error) => code("magic")(error) && /^page.html: .*a web page/.test(error.message));
  const onnx = new Uint8Array([8, 8, 18, 7, 112, 121]);
  await assert.rejects(open(onnx), /its byte 0 is 8, not 137. Check the address; dcz compress makes/);
  const newer = FILE.slice();
  newer[4] = 2;
  await assert.rejects(open(newer), code("version"));
});

test("a damaged payload is named, and its neighbours are given", async () => {
  const damaged = FILE.slice();
  damaged[FILE.length - 150_000] ^= 1;
  const file = await open(damaged);
  const named = ({ message }) => message.startsWith('the file in memory: "b" is damaged');
  await assert.rejects(file.tensor("b"), (error) => code("checksum")(error) && named(error));
  assert.deepEqual((await file.tensor("a")).data, EXPECTED.get("a"));
  assert.deepEqual((await file.tensor("c")).data, EXPECTED.get("c"));
});

test("a broken stream is a network error that names the cause", async () => {
  const cause = new Error("unplugged");
  let served = 0;
  const file = await open(
    new ReadableStream({
      pull(controller) {
        if (served++ > 0) throw cause;
        controller.enqueue(FILE.slice(0, 30_000));
      },
    }),
  );
  assert.deepEqual((await file.tensor("a")).data, EXPECTED.get("a"));
  await assert.rejects(file.tensor("b"), (error) => code("network")(error) && error.cause === cause);
  await assert.rejects(file.tensor("b"), code("network"));
});

test("what cannot be opened is an error of its own", async () => {
  const used = new Response(FILE);
  used.body.getReader();
  await assert.rejects(open(used), code("argument"));
  await assert.rejects(open(new Response("no", { status: 404 })), code("network"));
  await assert.rejects(open(new Request("http://localhost/", { method: "POST" })), code("argument"));
  await assert.rejects(open(7), code("argument"));
  await assert.rejects(open(Promise.resolve(FILE)), /found a Promise: await it first/);
  await assert.rejects(open(new Float32Array(4)), /from an address.*; found Float32Array/);
  await assert.rejects(open(new ReadableStream({ start: (c) => c.enqueue("text") })), code("argument"));
});
