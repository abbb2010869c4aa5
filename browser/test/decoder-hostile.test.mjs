// Thousands of changed files: the decoder refuses them or reads them as Python does, and goes on with the next one.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { Decoder } from "../dist/decode/decoder.js";
import { DczError } from "../dist/errors.js";
import { bytesOf, crc32, denseOf, expected, golden, indexOf, numbersOf, payloadOf, readAll } from "./decoding.mjs";

const GOOD = new Map(golden("good").map((name) => [name, bytesOf(`tests/golden/good/${name}.dcz`)]));

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

/** `edits`: a place, how many bytes leave there, and those that enter, in hex digits. */
function edited(payload, edits) {
  const bytes = [...payload];
  for (const [place, leave, enter] of edits) bytes.splice(place, leave, ...Buffer.from(enter, "hex"));
  return Uint8Array.from(bytes);
}

/** The digest of the dense bytes; null if the decoder refuses as a payload is refused. */
function digestOf(decoder, entry, payload) {
  try {
    return sha256(denseOf(decoder, { ...entry, bytes: payload.length, checksum: crc32(payload) }, payload));
  } catch (error) {
    assert.ok(error instanceof DczError, error);
    assert.equal(error.code, "payload", error.message);
    assert.equal(error.cause, undefined, "a trap");
    return null;
  }
}

test("changed payloads are refused, or decoded as Python decodes them", async () => {
  const decoder = await Decoder.create();
  const mutants = JSON.parse(new TextDecoder().decode(bytesOf("build/browser/data/mutants.json")));
  const entries = new Map();
  for (const [name, file] of GOOD) {
    for (const entry of indexOf(decoder, file).entries) {
      const payload = payloadOf(entry, file);
      entries.set(`${name} ${entry.name}`, { entry, payload, good: entry.bytes && digestOf(decoder, entry, payload) });
    }
  }
  for (const { file, tensor, edits, sha256 } of mutants) {
    const { entry, payload, good } = entries.get(`${file} ${tensor}`);
    const message = `${file}, ${tensor}, ${JSON.stringify(edits)}`;
    assert.equal(digestOf(decoder, entry, edited(payload, edits)), sha256, message);
    assert.equal(digestOf(decoder, entry, payload), good, `the good payload after ${message}`);
  }
});

test("a mask with a flaw is refused even if no element survives", async () => {
  const decoder = await Decoder.create();
  // payloads by `fast` of U8, in hex digits: all elements would be zero if nobody looked behind the last survivor
  const flaws = {
    "the last gap is an escape": [[10], "00000202010102"],
    "a pattern has a bit behind the end": [[3], "000004040108"],
    "an escape steps behind the end": [[3], "0000030202010202"],
    "a number is longer than needed": [[10], "000002028000"],
    "a class is none of two": [[2, 2], "00020100010200020200000000"],
    "a group is none of two": [[2, 2], "0002010001020100010200020000"],
  };
  for (const [flaw, [shape, digits]] of Object.entries(flaws)) {
    const payload = Uint8Array.from(Buffer.from(digits, "hex"));
    const denseBytes = shape.reduce((product, axis) => product * axis, 1);
    const entry = { name: flaw, dtype: "U8", shape, coder: "fast", denseBytes, offset: 0 };
    assert.equal(digestOf(decoder, entry, payload), null, flaw);
  }
});

test("files with changed bytes anywhere are refused, and the next good one decoded", async () => {
  const decoder = await Decoder.create();
  const below = numbersOf(17);
  const good = GOOD.get("worked-example");
  const wanted = [...readAll(decoder, good).values()].map(sha256);
  const files = [...GOOD.values()].filter((file) => file.length < 20_000);
  for (let round = 0; round < 2000; ++round) {
    const file = files[below(files.length)].slice();
    for (let left = 1 + below(3); left > 0; --left) file[below(file.length)] ^= 1 + below(255);
    const bad = file.subarray(0, file.length - (below(4) === 0 ? below(file.length) : 0));
    if (![...GOOD.values()].some((other) => Buffer.compare(other, bad) === 0)) {
      assert.throws(() => readAll(decoder, bad), DczError);
    }
    assert.deepEqual([...readAll(decoder, good).values()].map(sha256), wanted);
  }
});

test("changed indices with right checksums are refused by a code, or read", async () => {
  const decoder = await Decoder.create();
  const below = numbersOf(18);
  const codes = new Map();
  const files = [...GOOD.values()];
  for (let round = 0; round < 4000; ++round) {
    const file = files[below(files.length)];
    const head = file.slice(0, Decoder.indexBytes(file));
    const end = head.length - 4;
    for (let left = 1 + below(2); left > 0; --left) head[6 + below(Math.max(end - 6, 1))] = below(256);
    new DataView(head.buffer).setUint32(end, crc32(head.subarray(0, end)), true);
    let code = "read";
    try {
      decoder.index(head);
    } catch (error) {
      assert.ok(error instanceof DczError, error);
      code = error.code;
    }
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  const known = new Set(["read", "index", "version", "size", "truncated"]);
  assert.deepEqual(
    [...codes.keys()].filter((code) => !known.has(code)),
    [],
  );
  assert.ok((codes.get("index") ?? 0) > 1000 && (codes.get("read") ?? 0) > 100);
});

test("tensors of many axes are decoded as Python decodes them, by every coder", async () => {
  const decoder = await Decoder.create();
  const found = readAll(decoder, bytesOf("build/browser/data/axes.dcz"));
  for (const { name, data } of expected("axes").tensors) assert.deepEqual(found.get(name), data, name);
});
