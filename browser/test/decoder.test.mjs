// The decoder gives what Python gives, for every golden file, and refuses every bad one by its code.

import assert from "node:assert/strict";
import test from "node:test";
import { Decoder } from "../dist/decode/decoder.js";
import { DczError } from "../dist/errors.js";
import { bytesOf, crc32, denseOf, expected, fileOf, golden, indexOf, payloadOf, readAll } from "./decoding.mjs";

/** Of bad golden files: those that the index refuses by another code than "index", and other payloads than "payload". */
const CODES = {
  "cut-index": "truncated",
  "cut-payload": "truncated",
  "decoded-size-over-the-limit": "size",
  "decoded-sizes-over-the-limit-together": "size",
  empty: "truncated",
  "entries-that-no-memory-holds": "size",
  "flipped-bit-in-index": "checksum",
  "flipped-bit-in-payload": "checksum",
  "future-version": "version",
  "magic-only": "truncated",
  "payload-of-a-size-past-all": "truncated",
  "unknown-coder": "version",
  "unknown-dtype": "version",
  "version-zero": "version",
  "wrong-magic": "magic",
};

test("every golden file is decoded as Python decodes it", async (t) => {
  const decoder = await Decoder.create();
  for (const name of golden("good")) {
    await t.test(name, () => {
      const { metadata, tensors } = expected(name);
      const file = bytesOf(`tests/golden/good/${name}.dcz`);
      const index = indexOf(decoder, file);
      assert.deepEqual(Object.fromEntries(index.metadata), metadata);
      assert.deepEqual(
        index.entries.map(({ name, dtype, shape, tiedTo }) => ({ name, dtype, shape, tiedTo })),
        tensors.map(({ name, dtype, shape, tiedTo }) => ({ name, dtype, shape, tiedTo })),
      );
      const found = readAll(decoder, file);
      for (const { name: tensor, data } of tensors) assert.deepEqual(found.get(tensor), data, tensor);
    });
  }
});

test("every bad golden file is refused by its code, and the next good one decoded", async (t) => {
  const decoder = await Decoder.create();
  const good = bytesOf("tests/golden/good/worked-example.dcz");
  const stages = new Map(
    JSON.parse(new TextDecoder().decode(bytesOf("build/browser/data/bad.json"))).map((bad) => [bad.name, bad.stage]),
  );
  for (const name of golden("bad")) {
    await t.test(name, () => {
      const code = CODES[name] ?? (stages.get(name) === "open" ? "index" : "payload");
      const file = bytesOf(`tests/golden/bad/${name}.dcz`);
      assert.throws(
        () => readAll(decoder, file),
        (error) => error instanceof DczError && error.code === code,
      );
      const [weight, bias] = readAll(decoder, good).values();
      assert.deepEqual(new Float32Array(weight.buffer)[12], 1.5);
      assert.deepEqual([...new Float32Array(bias.buffer)], [0.5, -1]);
    });
  }
});

test("every truncation of a file is refused", async () => {
  const decoder = await Decoder.create();
  const file = bytesOf("tests/golden/good/worked-example.dcz");
  for (let length = 0; length < file.length; ++length) {
    assert.throws(() => readAll(decoder, file.subarray(0, length)), { name: "DczError", code: "truncated" });
  }
});

test("any flipped bit is refused", async () => {
  const decoder = await Decoder.create();
  const file = bytesOf("tests/golden/good/worked-example.dcz");
  for (let bit = 0; bit < 8 * file.length; ++bit) {
    const bad = file.slice();
    bad[bit >> 3] ^= 1 << (bit & 7);
    assert.throws(() => readAll(decoder, bad), { name: "DczError" });
  }
});

test("a wrong magic or version is refused at once, and the start of a file asks for more", () => {
  assert.throws(() => Decoder.indexBytes(Uint8Array.of(0x50)), { code: "magic" });
  assert.throws(() => Decoder.indexBytes(Uint8Array.of(0x89, 0x44, 0x43, 0x5a, 2)), { code: "version" });
  const file = bytesOf("tests/golden/good/worked-example.dcz");
  for (let length = 0; length < 6; ++length) assert.equal(Decoder.indexBytes(file.subarray(0, length)), undefined);
  assert.equal(Decoder.indexBytes(file.subarray(0, 6)), 6 + 0x26 + 4);
});

test("the checksum is that of zlib, for any length and any start", async () => {
  const decoder = await Decoder.create();
  const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => (i * i) >> 3);
  for (const [at, length] of [
    [0, 0],
    [0, 1],
    [1, 15],
    [3, 16],
    [5, 17],
    [7, 1000],
    [11, 65_535],
    [2, 150_000],
  ]) {
    const data = bytes.subarray(at, at + length);
    const entry = {
      name: "x",
      dtype: "U8",
      shape: [length],
      coder: "raw",
      bytes: length,
      denseBytes: length,
      offset: 0,
    };
    assert.deepEqual(denseOf(decoder, { ...entry, checksum: crc32(data) }, data), data.slice());
    assert.throws(() => denseOf(decoder, { ...entry, checksum: crc32(data) ^ 1 }, data), { code: "checksum" });
  }
});

test("names and metadata may be any text, and nothing else", async () => {
  const decoder = await Decoder.create();
  const names = ["", "\ufeffbom", "weights.0", "重み", "🧠", "e\u0301", "\u00e9", "\0", 'a"b\\'];
  const index = indexOf(
    decoder,
    fileOf(
      names.map((name) => ({ name, shape: [1], data: [7] })),
      [
        ["", "🧠"],
        ["\u0000", ""],
        ["ключ", "\ufeff"],
      ],
    ),
  );
  assert.deepEqual(
    index.entries.map(({ name }) => name),
    names,
  );
  assert.deepEqual(
    [...index.metadata],
    [
      ["", "🧠"],
      ["\u0000", ""],
      ["ключ", "\ufeff"],
    ],
  );
  for (const name of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]]) {
    assert.throws(() => indexOf(decoder, fileOf([{ name, shape: [1], data: [7] }])), { code: "index" });
  }
  const twice = ["a", "b", "c", "a"].map((name) => ({ name, shape: [1], data: [7] }));
  assert.throws(() => indexOf(decoder, fileOf(twice)), { code: "index", message: /"a" comes twice/ });
});

test("shapes have up to 32 axes, of which some may be zero", async () => {
  const decoder = await Decoder.create();
  const shapes = [
    [],
    [0],
    [0, 5],
    [5, 0],
    [2 ** 40, 0],
    Array(32).fill(1),
    [...Array(31).fill(1), 3],
    [3, ...Array(31).fill(1)],
  ];
  const tensors = shapes.map((shape, i) => {
    return { name: `${i}`, shape, data: Array(shape.reduce((product, axis) => product * axis, 1)).fill(i) };
  });
  const file = fileOf(tensors);
  assert.deepEqual(
    indexOf(decoder, file).entries.map(({ shape }) => shape),
    shapes,
  );
  assert.deepEqual(
    [...readAll(decoder, file).values()].map((data) => [...data]),
    tensors.map(({ data }) => data),
  );
  assert.throws(() => indexOf(decoder, fileOf([{ name: "", shape: Array(33).fill(1), data: [1] }])), { code: "index" });
  assert.throws(() => indexOf(decoder, fileOf([{ name: "", shape: [2n ** 62n, 2, 0], data: [] }])), { code: "index" });
  assert.throws(() => indexOf(decoder, fileOf([{ name: "", shape: [2n ** 62n, 0], data: [] }])), { code: "size" });
});

test("an index of many tensors takes time that grows with their number alone", async () => {
  const decoder = await Decoder.create();
  const time = (count) => {
    const file = fileOf(Array.from({ length: count }, (_, i) => ({ name: `layer.${i}`, shape: [1], data: [1] })));
    const times = Array.from({ length: 5 }, () => {
      const start = performance.now();
      assert.equal(indexOf(decoder, file).entries.length, count);
      return performance.now() - start;
    });
    return Math.min(...times);
  };
  const [few, many] = [time(2000), time(50_000)];
  assert.ok(many < 200 * few, `2,000 tensors took ${few} ms, 50,000 took ${many} ms`);
});

test("a tied tensor is not decoded by itself, nor an incomplete payload", async () => {
  const decoder = await Decoder.create();
  const file = bytesOf("tests/golden/good/ties-names-and-metadata.dcz");
  const { entries } = indexOf(decoder, file);
  const tied = entries.find(({ tiedTo }) => tiedTo !== undefined);
  const other = entries.find(({ name }) => name === tied.tiedTo);
  assert.deepEqual([tied.bytes, tied.offset, tied.shape, tied.coder], [0, other.offset, other.shape, other.coder]);
  assert.throws(() => denseOf(decoder, tied, new Uint8Array()), { code: "argument" });
  assert.throws(() => denseOf(decoder, other, payloadOf(other, file).subarray(1)), { code: "truncated" });
});

test("one decoding ends another that was under way", async () => {
  const decoder = await Decoder.create();
  const file = bytesOf("tests/golden/good/fast-narrow-lanes.dcz");
  const [entry] = indexOf(decoder, file).entries;
  const first = decoder.decode(entry, payloadOf(entry, file));
  first.next();
  assert.equal(denseOf(decoder, entry, payloadOf(entry, file)).length, entry.denseBytes);
  assert.throws(() => first.next(), { code: "argument" });
});
