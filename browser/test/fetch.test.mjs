// dczFetch answers as a server of decoded models would. The files are made by `python -m browser.test.make_converted`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { dczFetch } from "../dist/index.js";
import { same } from "./handmade.mjs";

const DATA = fileURLToPath(new URL("../../build/browser/data/converted/", import.meta.url));
const read = (name) => new Uint8Array(readFileSync(DATA + name));
const HOST = "https://models.test/";
const toDcz = (url) => (/\.(onnx|safetensors)$/.test(url) ? url.replace(/\.\w+$/, ".dcz") : undefined);

/**
 * A fetch in the place of a server with these files. `asked` has an address and range for each request, `sent.bytes`
 * counts what was read of the answers.
 */
function server(files, ranges = true) {
  const asked = [];
  const sent = { bytes: 0 };
  const body = (bytes) => {
    let at = 0;
    const pull = (controller) => {
      const chunk = bytes.slice(at, at + 16384);
      at += chunk.length;
      sent.bytes += chunk.length;
      if (chunk.length > 0) controller.enqueue(chunk);
      else controller.close();
    };
    return new ReadableStream({ pull }, { highWaterMark: 0 });
  };
  const fetch = async (input, init) => {
    const request = new Request(input, init);
    const bytes = files[request.url.slice(HOST.length)];
    const range = ranges ? request.headers.get("range") : null;
    asked.push(`${request.method} ${request.url.slice(HOST.length)}${range === null ? "" : ` ${range}`}`);
    if (bytes === undefined) return new Response("no such file", { status: 404 });
    const found = /^bytes=(\d+)-(\d*)$/.exec(range ?? "");
    if (found === null) return new Response(body(bytes), { headers: { "Content-Length": String(bytes.length) } });
    const from = Number(found[1]);
    const part = bytes.subarray(from, found[2] === "" ? bytes.length : Number(found[2]) + 1);
    const place = `bytes ${from}-${from + part.length - 1}/${bytes.length}`;
    return new Response(body(part), {
      status: 206,
      headers: { "Content-Range": place, "Content-Length": String(part.length), ETag: '"1"' },
    });
  };
  return { fetch, asked, sent };
}

for (const [name, ranges] of ["large.onnx", "branches.onnx", "lenet-5.safetensors", "long.safetensors"].flatMap(
  (name) => [
    [name, true],
    [name, false],
  ],
)) {
  test(`${name} comes as if it lay on a server ${ranges ? "with" : "without"} ranges`, async () => {
    const { fetch, asked } = server({ [toDcz(name)]: read(toDcz(name)) }, ranges);
    const response = await dczFetch(toDcz, { fetch })(HOST + name);
    const expected = read(name);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("Content-Length"), String(expected.length));
    same(new Uint8Array(await response.arrayBuffer()), expected);
    assert.ok(asked.every((each) => each.startsWith(`GET ${toDcz(name)}`)));
  });
}

test("requests at once do not end each other", async () => {
  const { fetch } = server({ "long.dcz": read("long.dcz") });
  const wrapped = dczFetch(toDcz, { fetch });
  const expected = read("long.safetensors");
  const range = { headers: { Range: "bytes=5-900000" } };
  const all = await Promise.all([undefined, range, undefined].map((each) => wrapped(`${HOST}long.safetensors`, each)));
  for (const [at, right] of [expected, expected.slice(5, 900001), expected].entries()) {
    same(new Uint8Array(await all[at].arrayBuffer()), right);
  }
});

test("all else goes to fetch as it is", async () => {
  const { fetch, asked } = server({ "config.json": new TextEncoder().encode("{}"), "large.onnx": Uint8Array.of(1) });
  const wrapped = dczFetch(toDcz, { fetch });
  assert.equal(await (await wrapped(new URL(`${HOST}config.json`))).text(), "{}");
  assert.equal((await wrapped(`${HOST}nothing`)).status, 404);
  await wrapped(`${HOST}large.onnx`, { method: "POST", body: "x" });
  assert.deepEqual(asked, ["GET config.json", "GET nothing", "POST large.onnx"]);
});

test("HEAD and a range say the length, and the GET that follows opens nothing again", async () => {
  const { fetch, asked } = server({ "large.dcz": read("large.dcz") });
  const wrapped = dczFetch(toDcz, { fetch });
  const expected = read("large.onnx");
  const head = await wrapped(new Request(`${HOST}large.onnx`, { method: "HEAD" }));
  assert.equal(head.headers.get("Content-Length"), String(expected.length));
  assert.equal((await head.arrayBuffer()).byteLength, 0);
  for (const [range, from, to] of [
    ["bytes=0-0", 0, 1],
    ["bytes=5-", 5, expected.length],
    ["bytes=300-40000", 300, 40001],
  ]) {
    const part = await wrapped(`${HOST}large.onnx`, { headers: { Range: range } });
    assert.equal(part.status, 206);
    assert.equal(part.headers.get("Content-Range"), `bytes ${from}-${to - 1}/${expected.length}`);
    same(new Uint8Array(await part.arrayBuffer()), expected.slice(from, to));
  }
  await assert.rejects(wrapped(`${HOST}large.onnx`, { headers: { Range: "bytes=9999999-" } }), { code: "argument" });
  const whole = await wrapped(`${HOST}large.onnx`);
  same(new Uint8Array(await whole.arrayBuffer()), expected);
  assert.equal(asked.filter((each) => each === asked[0]).length, 1);
});

test("tensors are fetched as the library reads, and not after it has left", async () => {
  const { fetch, sent } = server({ "long.dcz": read("long.dcz") });
  const response = await dczFetch(toDcz, { fetch })(`${HOST}long.safetensors`);
  const reader = response.body.getReader();
  // the head, and a slice of the first of four tensors
  await reader.read();
  await reader.read();
  const pause = () => new Promise((resolve) => setTimeout(resolve, 30));
  await pause();
  assert.ok(sent.bytes < 2 ** 19, `${sent.bytes} bytes were read`);
  await reader.cancel();
  const before = sent.bytes;
  await pause();
  assert.equal(sent.bytes, before);
});

test("a file that is missing, damaged or no model rejects, and is asked for again", async () => {
  const files = { "w.dcz": new TextEncoder().encode("<!doctype html><title>no such page</title>") };
  const { fetch } = server(files);
  const wrapped = dczFetch(toDcz, { fetch });
  await assert.rejects(wrapped(`${HOST}gone.onnx`), { name: "DczError", message: /gone\.dcz.*404/ });
  await assert.rejects(wrapped(`${HOST}w.onnx`), { name: "DczError", code: "magic" });
  files["w.dcz"] = read("chain.dcz");
  assert.equal((await wrapped(`${HOST}w.onnx`)).status, 200);
});

test("a damaged tensor ends the stream with its error", async () => {
  const bytes = read("lenet-5.dcz");
  bytes[bytes.length - 1] ^= 1;
  const { fetch } = server({ "lenet-5.dcz": bytes });
  const response = await dczFetch(toDcz, { fetch })(`${HOST}lenet-5.safetensors`);
  await assert.rejects(response.arrayBuffer(), { name: "DczError", code: "checksum" });
});

test("a signal ends the stream", async () => {
  const { fetch } = server({ "large.dcz": read("large.dcz") });
  const controller = new AbortController();
  const response = await dczFetch(toDcz, { fetch })(`${HOST}large.onnx`, { signal: controller.signal });
  controller.abort();
  await assert.rejects(response.arrayBuffer(), { code: "aborted" });
});

test("a range that nobody reads to its end keeps no connection", async () => {
  const cancelled = [];
  const { fetch } = server({ "long.dcz": read("long.dcz") });
  const watched = async (input, init) => {
    const response = await fetch(input, init);
    const reader = response.body.getReader();
    const pull = async (controller) => {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    };
    const cancel = () => cancelled.push(response.headers.get("Content-Range"));
    return new Response(new ReadableStream({ pull, cancel }, { highWaterMark: 0 }), response);
  };
  const wrapped = dczFetch(toDcz, { fetch: watched });
  const part = await wrapped(`${HOST}long.safetensors`, { headers: { Range: "bytes=5-900000" } });
  const reader = part.body.getReader();
  await reader.read();
  await reader.read();
  const before = cancelled.length;
  await reader.cancel();
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(cancelled.length, before + 1);
});

test("who leaves in the middle of a piece takes nothing from others", async () => {
  const { fetch } = server({ "long.dcz": read("long.dcz") });
  const wrapped = dczFetch(toDcz, { fetch });
  const part = await wrapped(`${HOST}long.safetensors`, { headers: { Range: "bytes=5-900000" } });
  const whole = await wrapped(`${HOST}long.safetensors`);
  const reader = part.body.getReader();
  const reading = reader.read();
  await reader.cancel();
  assert.equal((await reading).done, true);
  same(new Uint8Array(await whole.arrayBuffer()), read("long.safetensors"));
});

test("a signal ends a stream that nobody reads, and the file behind it", async () => {
  const { fetch, sent } = server({ "long.dcz": read("long.dcz") });
  const controller = new AbortController();
  const response = await dczFetch(toDcz, { fetch })(`${HOST}long.safetensors`, { signal: controller.signal });
  const reader = response.body.getReader();
  await reader.read();
  controller.abort();
  await assert.rejects(reader.closed, { code: "aborted" });
  const before = sent.bytes;
  await assert.rejects(reader.read(), { code: "aborted" });
  assert.equal(sent.bytes, before);
});
