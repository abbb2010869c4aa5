// openInWorker(): the same file and the same errors from a worker, which ends with the file.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as threads from "node:worker_threads";
import { DczError, openInWorker } from "../dist/index.js";
import { serving } from "./serving.mjs";
import { collect, EXPECTED, FILE } from "./writing.mjs";

const code = (expected) => (error) => error instanceof DczError && error.code === expected;

async function opened(source, options, use) {
  const file = await openInWorker(source, options);
  try {
    return await use(file);
  } finally {
    file.close();
  }
}

const KINDS = {
  bytes: () => FILE,
  "an ArrayBuffer": () => FILE.slice().buffer,
  "a Blob": () => new Blob([FILE]),
  "a stream": () => new Blob([FILE]).stream(),
  "a Response": () => new Response(FILE),
};

for (const [kind, make] of Object.entries(KINDS)) {
  test(`${kind} opens in a worker, and gives every tensor`, () =>
    opened(make(), {}, async (file) => {
      assert.equal(file.bytes, FILE.length);
      assert.deepEqual([...file.metadata], [["about", "a test"]]);
      assert.deepEqual([...file.entries.keys()], ["a", "b", "tied", "none", "c"]);
      assert.equal(file.entries.get("tied").tiedTo, "a");
      assert.ok(file.memoryBytes > 0);
      assert.deepEqual(await collect(file), EXPECTED);
    }));
}

test("bytes stay the caller's", () =>
  opened(FILE, {}, async (file) => {
    await file.tensor("a");
    assert.notEqual(FILE.byteLength, 0);
  }));

test("a part of an array goes to the worker without the rest of it", async (t) => {
  const sent = [];
  const { Worker } = globalThis.Worker ? globalThis : threads;
  const { postMessage } = Worker.prototype;
  t.mock.method(Worker.prototype, "postMessage", function (message, transfer) {
    sent.push(message);
    return postMessage.call(this, message, transfer);
  });
  const large = new Uint8Array(FILE.length + 1000);
  large.set(FILE, 500);
  await opened(large.subarray(500, 500 + FILE.length), {}, async (file) => {
    assert.deepEqual(await collect(file), EXPECTED);
  });
  assert.equal(large.length, FILE.length + 1000);
  // moved there: a second copy was not made
  assert.equal(sent[0].takes.source.buffer.byteLength, 0);
});

test("tensors, slices, passes and errors are those of a file in this thread", () =>
  serving(FILE, {}, async (url, requests) => {
    const steps = [];
    await opened(url, { onProgress: (step) => steps.push(step), headers: { "X-Key": "2" } }, async (file) => {
      assert.deepEqual(await collect(file, { names: ["c", "tied"] }), new Map(["tied", "c"].map(pair)));
      assert.deepEqual(steps.at(-1).total, FILE.length);
      const pieces = [];
      for await (const piece of file.slices("b")) pieces.push(piece);
      assert.deepEqual(Uint8Array.from(Buffer.concat(pieces)), EXPECTED.get("b"));
      const found = await Promise.all(["c", "a", "none"].map((name) => file.tensor(name)));
      assert.deepEqual(new Map(found.map(({ name, data }) => [name, data])), new Map(["c", "a", "none"].map(pair)));
      await assert.rejects(file.tensor("d"), code("not-found"));
      await assert.rejects(collect(file, { names: ["d"] }), code("not-found"));
      for (const { headers } of requests) assert.equal(headers["x-key"], "2");
    });
  }));

function pair(name) {
  return [name, EXPECTED.get(name)];
}

test("leaving a pass ends it and its connection", () =>
  serving(FILE, { answer: stall }, (url, requests) =>
    opened(url, {}, async (file) => {
      for await (const { name } of file.tensors()) if (name === "b") break;
      assert.equal(requests.length, 2);
      assert.deepEqual((await file.tensor("a")).data, EXPECTED.get("a"));
      for (const { closed } of requests) await closed;
    }),
  ));

/** Answers all but the first request with a part of the bytes, then nothing. A pass gets up to `b`, and not `c`. */
function stall(_, response, { start, end }, number) {
  if (number === 0) return false;
  const range = `bytes ${start}-${end - 1}/${FILE.length}`;
  response.writeHead(206, { "Content-Range": range, "Content-Length": end - start, ETag: '"1"' });
  response.write(FILE.subarray(start, start + (start === 65536 ? 120_000 : 10_000)));
  return true;
}

test("a signal ends one call, and its connection, in the worker too", () =>
  serving(FILE, { answer: stall }, (url, requests) =>
    opened(url, {}, async (file) => {
      const stop = new AbortController();
      const calls = Promise.allSettled([
        file.tensor("c", { signal: stop.signal }),
        collect(file, { signal: stop.signal }),
      ]);
      while (requests.length < 3) await new Promise((resolve) => setImmediate(resolve));
      stop.abort();
      for (const { reason } of await calls) assert.equal(reason.code, "aborted");
      for (const { closed } of requests) await closed;
      assert.deepEqual((await file.tensor("a")).data, EXPECTED.get("a"));
    }),
  ));

test("closing ends the worker, its connections and all calls", () =>
  serving(FILE, { answer: stall }, async (url, requests) => {
    const file = await openInWorker(url);
    const waiting = Promise.allSettled([file.tensor("c"), collect(file)]);
    while (requests.length < 3) await new Promise((resolve) => setImmediate(resolve));
    file.close();
    for (const { reason } of await waiting) assert.equal(reason.code, "aborted");
    for (const { closed } of requests) await closed;
    await assert.rejects(file.tensor("a"), code("aborted"));
    await assert.rejects(collect(file), code("aborted"));
  }));

test("a signal while the file opens ends the worker", () =>
  serving(FILE, { answer: () => true }, async (url, requests) => {
    const stop = new AbortController();
    const failing = assert.rejects(openInWorker(url, { signal: stop.signal }), code("aborted"));
    while (requests.length < 1) await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    await failing;
    await requests[0].closed;
  }));

test("what cannot be opened, or sent, is an error with its code", async () => {
  const used = new Response(FILE);
  await used.arrayBuffer();
  await assert.rejects(openInWorker(used), code("argument"));
  await assert.rejects(openInWorker(Promise.resolve(FILE)), /found a Promise: await it first/);
  await assert.rejects(openInWorker(new TextEncoder().encode("<!doctype html>")), code("magic"));
  await assert.rejects(openInWorker(FILE.subarray(0, 99)), code("truncated"));
  await assert.rejects(openInWorker(new Response("no", { status: 404 })), code("network"));
  await assert.rejects(openInWorker(FILE, { fetch }), code("argument"));
  await assert.rejects(openInWorker(new Request("http://localhost/")), code("argument"));
  const locked = new Blob([FILE]).stream();
  locked.getReader();
  await assert.rejects(openInWorker(locked), code("argument"));
});

test("without workers, it is an error that says what to do", async () => {
  const { Worker, process } = globalThis;
  try {
    Object.assign(globalThis, { Worker: undefined, process: undefined });
    await assert.rejects(openInWorker(FILE), (error) => code("unsupported")(error) && error.message.includes("open()"));
  } finally {
    Object.assign(globalThis, { Worker, process });
  }
});
