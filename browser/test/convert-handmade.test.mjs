// Converters on files made by hand: what is kept, what is refused, and how much is decoded.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Composed } from "../dist/convert/composed.js";
import { folderFiles } from "../dist/convert/folder.js";
import { toOnnx } from "../dist/convert/onnx.js";
import { toSafetensors } from "../dist/convert/safetensors.js";
import { elements, filled, handmade, marked, message, model, onnxFile } from "./handmade.mjs";

const w = { name: "w", shape: [2, 3], data: elements(6) };
const v = { name: "v", shape: [5], data: elements(5, 2) };
const payload = { name: "DczError", code: "payload" };

/** Messages within messages around a tensor; each holds the next one in the same field. */
function nested(inner, levels) {
  let attribute = message([1, "value"], [5, inner]);
  for (let level = 0; level < levels; level++) {
    attribute = message([1, "body"], [6, message([1, message([5, attribute])])]);
  }
  return model([], [1, message([5, attribute])]);
}

test("marks are filled in initializers, attributes, subgraphs, functions and sparse tensors; all else is kept", async () => {
  const tensors = ["a", "b", "c", "d", "e", "f", "g"].map((name, at) => ({
    ...{ name, shape: [at + 1, 2] },
    data: elements(2 * (at + 1), at),
  }));
  const graph = (tensor) => {
    const [a, b, c, d, e, f, g] = tensors.map(tensor);
    const plain = message([1, 3], [2, 1], [4, Uint8Array.from({ length: 12 }, (_, at) => at)], [8, "plain"]);
    const inner = message([2, "inner"], [5, c], [99, "unknown"]);
    const node = message([4, "If"], [5, message([1, "t"], [5, b])], [5, message([1, "g"], [6, inner], [10, d])]);
    const sparse = message([1, e], [2, plain], [3, 9]);
    const called = message([1, "f"], [7, message([5, message([1, "value"], [5, f])])], [10, "own"]);
    const attributes = message([1, "g"], [11, message([1, "default"], [5, g])]);
    return message(
      [1, 8],
      [7, message([1, node], [5, plain], [5, a], [15, sparse], [16, "x"])],
      [25, called],
      [25, attributes],
      [77, 1],
    );
  };
  const { file, asked } = onnxFile(
    graph(({ name, shape }) => marked(name, shape, { tail: [[16, "kept"]] })),
    tensors,
  );
  const expected = graph(({ name, shape, data }) => filled(name, shape, data, { tail: [[16, "kept"]] }));
  assert.deepEqual(await toOnnx(file), expected);
  assert.deepEqual(asked, [["onnx.graph"], tensors.map(({ name }) => name)]);
});

test("dims may be packed, and data that a mark replaces go", async () => {
  const packed = [1, Uint8Array.of(2, 3)];
  const mark = message([1, "deepcompression"], [2, "w"]);
  const graph = model([
    message(packed, [2, 1], [9, "old"], [13, message([1, "offset"], [2, "0"])], [13, mark], [14, 1]),
  ]);
  const { file } = onnxFile(graph, [w]);
  assert.deepEqual(await toOnnx(file), model([message(packed, [2, 1], [9, w.data])]));
});

test("a model without marks is its graph", async () => {
  const { file } = onnxFile(model([]), []);
  assert.deepEqual(await toOnnx(file), model([]));
});

for (const [story, graph, tensors, words] of [
  ["of no graph", message([1, 8]), [], /no graph/],
  ["of other bytes", Uint8Array.of(0xff, 0xff, 0xff), [], /cut off/],
  ["with a length beyond its end", Uint8Array.of(0x3a, 0x7f, 0), [], /ends at 129, its message at 3/],
  ["with a length of 2^63", Uint8Array.of(0x3a, ...Array(9).fill(0x80), 1), [], /ends at/],
  ["with an endless number", Uint8Array.of(0x3a, ...Array(12).fill(0x80)), [], /more than 10 bytes/],
  ["with a field of the number 0", Uint8Array.of(0x02, 0), [], /number 0/],
  ["with a group", Uint8Array.of(0x3b, 0x3c), [], /wire type 3/],
  ["with a fixed number that is cut off", Uint8Array.of(0x39, 1, 2), [], /ends at 9/],
  ["with a tensor that is missing", model([marked("gone", [2])]), [], /gone, which is missing/],
  ["that marks itself", model([marked("onnx.graph", [2])]), [], /onnx.graph, which is missing/],
  ["with another shape", model([marked("w", [3, 2])]), [w], /w is \[2,3\] of F32.*\[3,2\] of F32/],
  ["with more axes", model([marked("w", [2, 3, 1])]), [w], /\[2,3,1\]/],
  ["with a negative axis", model([marked("w", [2, -3])]), [w], /w is \[2,3\]/],
  ["with another dtype", model([marked("w", [2, 3], { type: 6 })]), [w], /of I32/],
  ["with an unknown dtype", model([marked("w", [2, 3], { type: 99 })]), [w], /the dtype 99/],
  ["with one mark twice", model([marked("w", [2, 3]), marked("w", [2, 3])]), [w], /two places for the tensor w/],
  ["with no place for a tensor", model([marked("w", [2, 3])]), [w, v], /no place for the tensor v/],
  ["with two graphs", message([7, message([5, marked("w", [2, 3])])], [7, message([2, "g"])]), [w], /graph twice/],
  ["nested 200 deep", nested(marked("w", [2, 3]), 200), [w], /nested more than 100/],
]) {
  test(`a graph ${story} is refused`, async () => {
    const { file, asked } = onnxFile(graph, tensors);
    await assert.rejects(toOnnx(file), { ...payload, message: words });
    assert.deepEqual(asked, [["onnx.graph"]]);
  });
}

test("a graph that is nested 20 deep is filled", async () => {
  const { file } = onnxFile(nested(marked("w", [2, 3]), 20), [w]);
  assert.deepEqual(await toOnnx(file), nested(filled("w", [2, 3], w.data), 20));
});

test("every truncation and every flipped bit of a graph gives a model or a DczError", async () => {
  const whole = nested(marked("w", [2, 3]), 2);
  const spoilt = Array.from(whole, (_, at) => whole.subarray(0, at));
  for (let bit = 0; bit < 8 * whole.length; bit++) {
    const other = whole.slice();
    other[bit >> 3] ^= 1 << (bit & 7);
    spoilt.push(other);
  }
  let refused = 0;
  for (const graph of spoilt) {
    await toOnnx(onnxFile(graph, [w]).file).catch((error) => {
      assert.equal(error.name, "DczError", String(error.stack));
      refused += 1;
    });
  }
  assert.ok(refused > spoilt.length / 2);
});

test("data beside the model are an error that names the file, or a call with its name", async () => {
  const place = message([1, "location"], [2, "weights.bin"]);
  const beside = message([1, 4], [2, 1], [8, "b"], [13, place], [14, 1]);
  const { file } = onnxFile(model([beside, marked("w", [2, 3])]), [w]);
  await assert.rejects(toOnnx(file), { code: "unsupported", message: /the file weights.bin beside it.*onExternal/ });
  const found = [];
  const bytes = await toOnnx(file, { onExternal: (location) => found.push(location) });
  assert.deepEqual(found, ["weights.bin"]);
  assert.deepEqual(bytes, model([beside, filled("w", [2, 3], w.data)]));
});

test("a model beyond 2 GB is refused before its tensors are decoded", async () => {
  const { file, asked } = onnxFile(model([marked("w", [1024, 1024, 512])]), [w]);
  Object.assign(file.entries.get("w"), { shape: [1024, 1024, 512], denseBytes: 2 ** 31 });
  await assert.rejects(toOnnx(file), { code: "size", message: /no ONNX file can hold more than 2147483647/ });
  assert.deepEqual(asked, [["onnx.graph"]]);
});

test("a name of many parts is checked in a moment", { timeout: 15_000 }, async () => {
  const { file } = folderFile({ [`${"a/".repeat(300_000)}b`]: Uint8Array.of(1) });
  assert.equal((await folderFiles(file).next()).value.data[0], 1);
});

test("memory that cannot be had is an error with the bytes that are needed", async () => {
  const { file } = handmade([w]);
  Object.assign(file.entries.get("w"), { shape: [2 ** 53], denseBytes: 2 ** 53 });
  await assert.rejects(toSafetensors(file), { code: "memory", message: /for 9007199254741\d\d\d bytes/ });
});

test("ties are decoded once and written in full", async () => {
  const tie = { ...w, name: "tie", tiedTo: "w" };
  const { file, asked } = handmade([w, v, tie]);
  const found = await toSafetensors(file);
  assert.deepEqual(asked, [["w", "v"]]);
  assert.deepEqual(found.subarray(found.length - 68), Uint8Array.of(...w.data, ...v.data, ...w.data));
});

test("a signal ends the work", async () => {
  const controller = new AbortController();
  controller.abort();
  await assert.rejects(toSafetensors(handmade([w]).file, { signal: controller.signal }), { code: "aborted" });
});

test("a tensor that gives other bytes than its entry says is refused", async () => {
  for (const denseBytes of [20, 28]) {
    const { file } = handmade([w]);
    Object.assign(file.entries.get("w"), { denseBytes });
    await assert.rejects(toSafetensors(file), { ...payload, message: /w does not give its/ });
  }
});

test("pieces from any offset to any other are those of the whole", async () => {
  const { file } = handmade([w, v, { ...w, name: "u" }]);
  const [first, second, third] = file.entries.values();
  // not in the order of the file
  const parts = [Uint8Array.of(1, 2, 3), second, new Uint8Array(0), first, third, Uint8Array.of(4)];
  const composed = new Composed(file, parts);
  const whole = await composed.toBytes();
  for (let from = 0; from <= whole.length; from++) {
    for (let to = from; to <= whole.length; to += 5) {
      const found = [];
      for await (const piece of composed.pieces(from, to)) found.push(...piece);
      assert.deepEqual(Uint8Array.from(found), whole.slice(from, to));
    }
  }
});

test("many tensors that are tied to one are written in a moment", { timeout: 15_000 }, async () => {
  const one = { name: "t", dtype: "U8", shape: [1], data: Uint8Array.of(7) };
  const ties = Array.from({ length: 250_000 }, (_, i) => ({ ...one, name: `t${i}`, tiedTo: "t" }));
  const { file } = handmade([one, ...ties]);
  file.slices = async function* () {
    yield one.data;
  };
  const written = await toSafetensors(file);
  assert.ok(written.subarray(-250_001).every((byte) => byte === 7));
});

/** A file of a folder with these files, and one of weights with the tensor w. */
function folderFile(files, header = { w: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] } }, length = undefined) {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const head = new Uint8Array(8 + json.length);
  head.set(json, 8);
  head[0] = length ?? json.length;
  const all = { ...files, "m.safetensors": head };
  const beside = Object.entries(all).map(([name, data]) => ({
    ...{ name: `folder/${name}`, dtype: "U8", shape: [data.length] },
    data,
  }));
  return handmade([w, ...beside], { "deepcompression.folder": '["m.safetensors"]' });
}

for (const name of ["../up", "/root", "a//b", "a/./b", "C:/x", "a\\b", "zero\0", "", "m.safetensors/in"]) {
  test(`the name ${JSON.stringify(name)} is refused before the folder's first file`, async () => {
    const { file } = folderFile({ [name]: Uint8Array.of(1) });
    await assert.rejects(folderFiles(file).next(), { ...payload, message: /not the name of a file inside/ });
  });
}

for (const [story, header, length] of [
  ["without its tensor", {}],
  ["with an unknown tensor", { x: { data_offsets: [0, 24] } }],
  ["with a gap", { w: { data_offsets: [8, 32] } }],
  ["with another size", { w: { data_offsets: [0, 20] } }],
  ["without offsets", { w: 7 }],
  ["that is no object", null],
  ["with another length", { w: { data_offsets: [0, 24] } }, 3],
]) {
  test(`a head ${story} is refused before the folder's first file`, async () => {
    await assert.rejects(folderFiles(folderFile({ a: Uint8Array.of(1) }, header, length).file).next(), payload);
  });
}

for (const text of ["", "[]", "7", '["gone"]', "[7]", "{"]) {
  test(`the metadata ${text} names no folder`, async () => {
    const { file } = handmade([w], { "deepcompression.folder": text });
    await assert.rejects(folderFiles(file).next(), { code: text === "" ? "unsupported" : "payload" });
  });
}
