// Files made by hand for tests of converters: entries with their bytes, and messages of protobuf.

import assert from "node:assert/strict";

const encoder = new TextEncoder();

/** Fails for other bytes, with the first place; deepEqual would take minutes for an explanation. */
export function same(found, expected, what = "") {
  const at = expected.findIndex((byte, index) => byte !== found[index]);
  assert.equal(found.length, expected.length, what);
  assert.equal(at, -1, `${what} at byte ${at}`);
}

/** A file as converters see it: metadata, and tensors {name, dtype, shape, data}; `asked` has the names of each request. */
export function handmade(tensors, metadata = {}) {
  const asked = [];
  const entries = new Map(
    tensors.map(({ name, dtype = "F32", shape, data, tiedTo }) => {
      const entry = { name, dtype, shape, coder: tiedTo ? "alias" : "raw", bytes: 0, denseBytes: data.length };
      return [name, tiedTo ? { ...entry, tiedTo } : entry];
    }),
  );
  const file = {
    metadata: new Map(Object.entries(metadata)),
    entries,
    async *slices(names) {
      asked.push(names);
      // one buffer for all slices, which are valid until the next one
      const buffer = new Uint8Array(7);
      for (const { data } of tensors.filter(({ name }) => [names].flat().includes(name))) {
        for (let at = 0; at < data.length; at += 7) {
          const part = data.subarray(at, at + 7);
          buffer.set(part);
          yield buffer.subarray(0, part.length);
          buffer.fill(0xee);
        }
      }
    },
  };
  return { file, asked };
}

/** A number as a varint. */
export function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
}

/** A message of fields [number, value]: a number as varint, text and bytes and messages with their length. */
export function message(...fields) {
  const bytes = fields.flatMap(([number, value]) => {
    if (typeof value === "number") return [...varint(number * 8), ...varint(value)];
    const content = typeof value === "string" ? encoder.encode(value) : value;
    return [...varint(number * 8 + 2), ...varint(content.length), ...content];
  });
  return Uint8Array.from(bytes);
}

/** A TensorProto of F32 with a mark. */
export function marked(name, dims, { type = 1, tail = [] } = {}) {
  const mark = message([1, "deepcompression"], [2, name]);
  return message(...dims.map((each) => [1, each]), [2, type], [8, name], [13, mark], [14, 1], ...tail);
}

/** The same tensor with data. */
export function filled(name, dims, data, { type = 1, tail = [] } = {}) {
  return message(...dims.map((each) => [1, each]), [2, type], [8, name], [9, data], ...tail);
}

/** A model whose graph has these initializers, and other fields. */
export function model(initializers, ...more) {
  return message([1, 8], [7, message([2, "g"], ...initializers.map((each) => [5, each]), ...more)], [14, "kept"]);
}

/** A file of an ONNX model with this graph and these tensors. */
export function onnxFile(graph, tensors) {
  const all = [...tensors, { name: "onnx.graph", dtype: "U8", shape: [graph.length], data: graph }];
  return handmade(all, { format: "onnx" });
}

/** Elements of F32, none of them zero. */
export function elements(count, seed = 1) {
  return Uint8Array.from({ length: 4 * count }, (_, at) => (at * 7 + seed * 31) % 255);
}
