// The open file: tensors, slices and passes, alone and at once; what it holds, and how it ends.
import assert from "node:assert/strict";
import { test } from "node:test";
import { DczError, linear, open, openInWorker, Sequence } from "../dist/index.js";
import { collect, dcz, EXPECTED, FILE, KINDS, noise, streamOf } from "./writing.mjs";

const code = (expected) => (error) => error instanceof DczError && error.code === expected;

test("each dtype has its array, with memory of its own", async () => {
  const bytes = noise(32);
  const kinds = {
    F64: Float64Array,
    F32: Float32Array,
    F16: Uint16Array,
    BF16: Uint16Array,
    I64: BigInt64Array,
    I32: Int32Array,
    I8: Int8Array,
    U8: Uint8Array,
    BOOL: Uint8Array,
    C64: Float32Array,
    C128: Float64Array,
    F4: Uint8Array,
  };
  const widths = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, C64: 8, C128: 16, F4: 0.5 };
  const file = await open(
    dcz([
      { name: "odd", data: noise(3) },
      ...Object.keys(kinds).map((dtype) => ({ name: dtype, dtype, shape: [32 / (widths[dtype] ?? 1)], data: bytes })),
    ]),
  );
  for (const [dtype, kind] of Object.entries(kinds)) {
    const tensor = await file.tensor(dtype);
    assert.equal(tensor.data.constructor, kind);
    assert.deepEqual(new Uint8Array(tensor.data.buffer), bytes);
    assert.deepEqual([tensor.dtype, tensor.shape], [dtype, [32 / (widths[dtype] ?? 1)]]);
  }
});

const toBuffers = () =>
  new TransformStream({ transform: (chunk, controller) => controller.enqueue(Buffer.from(chunk)) });

test("of a Buffer, whose slice() copies nothing, each piece is the caller's own, and layers get their weights", async () => {
  const weights = Float32Array.from({ length: 6 }, (_, i) => i - 2.5);
  const bytes = dcz([
    { name: "odd", data: noise(3) },
    { name: "f.weight", dtype: "F32", shape: [2, 3], data: new Uint8Array(weights.buffer) },
  ]);
  for (const source of [Buffer.from(bytes), new Blob([bytes]).stream().pipeThrough(toBuffers())]) {
    const file = await open(source);
    const net = await Sequence.load(file, [linear("f")], { inputShape: [3], device: "wasm", strict: false });
    assert.deepEqual([...(await net.run(Float32Array.of(1, 0, 0)))], [-2.5, 0.5]);
    const pieces = [];
    for await (const piece of file.slices("f.weight")) pieces.push(piece);
    pieces[0].fill(0xff);

    assert.equal((await file.tensor("f.weight")).data[0], -2.5);
  }
});

test("a tied name gives the tensor that it is tied to, under its own name and with memory of its own", async () => {
  const file = await open(FILE);
  const [one, other] = [await file.tensor("a"), await file.tensor("tied")];
  assert.equal(other.name, "tied");
  assert.deepEqual(other.data, one.data);
  assert.notEqual(other.data.buffer, one.data.buffer);
  assert.equal(file.entries.get("tied").tiedTo, "a");
  assert.deepEqual([...(await collect(file, { names: ["tied"] })).keys()], ["tied"]);
});

test("names choose the tensors of a pass, in the order of the file", async () => {
  for (const make of Object.values(KINDS)) {
    const found = await collect(await open(make()), { names: ["c", "a"] });
    assert.deepEqual([...found.keys()], ["a", "c"]);
    assert.deepEqual(found.get("c"), EXPECTED.get("c"));
  }
});

test("a text is one name of a pass, and a list alone is refused, here and in a worker", async () => {
  const list = dcz([{ name: "long", data: noise(10) }]);
  for (const file of [await open(list), await openInWorker(list)]) {
    assert.deepEqual([...(await collect(file, { names: "long" })).keys()], ["long"]);
    await assert.rejects(collect(file, ["long"]), (error) => code("argument")(error) && /an array/.test(error.message));
    file.close();
  }
});

test("a name that is not there is an error, and the file stays usable", async () => {
  const file = await open(FILE);
  await assert.rejects(
    file.tensor("d"),
    (error) => code("not-found")(error) && /It has a, b, tied/.test(error.message),
  );
  await assert.rejects(collect(file, { names: ["a", "d"] }), code("not-found"));
  await assert.rejects(async () => {
    for await (const _ of file.slices("d"));
  }, code("not-found"));
  assert.deepEqual(await collect(file), EXPECTED);
});

test("many calls at once give what they would give one after the other", async () => {
  for (const make of Object.values(KINDS)) {
    const file = await open(make());
    const names = ["c", "a", "b", "tied", "c", "none", "a"];
    const found = await Promise.all(names.map((name) => file.tensor(name)));
    for (const [i, name] of names.entries()) assert.deepEqual(found[i].data, EXPECTED.get(name));
  }
});

test("one signal serves any number of calls", async () => {
  const warnings = [];
  const warned = (warning) => warnings.push(warning.message);
  process.on("warning", warned);
  const { signal } = new AbortController();
  const file = await open(FILE, { signal });
  await Promise.all(Array.from({ length: 40 }, () => file.tensor("a", { signal })));
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", warned);
  assert.deepEqual(warnings, []);
});

test("a tensor and slices can be asked for in the middle of a pass, and of slices", async () => {
  for (const make of Object.values(KINDS)) {
    const file = await open(make());
    const seen = [];
    for await (const { name, data } of file.tensors()) {
      seen.push(name);
      assert.deepEqual(data, EXPECTED.get(name));
      if (name !== "b") continue;
      assert.deepEqual((await file.tensor("c")).data, EXPECTED.get("c"));
      let at = 0;
      for await (const slice of file.slices("c")) {
        assert.deepEqual(slice, EXPECTED.get("c").subarray(at, at + slice.length));
        if (at === 0) assert.deepEqual((await file.tensor("none")).data.length, 0);
        at += slice.length;
      }
      assert.equal(at, 100_000);
    }
    assert.deepEqual(seen, [...EXPECTED.keys()]);
  }
});

test("a stream keeps what was skipped for a tensor, and lets go of what a pass has given", async () => {
  const seen = { pulled: 0 };
  const file = await open(streamOf(FILE, 1000, seen));
  assert.ok(seen.pulled <= 1000);
  await file.tensor("b");
  assert.ok(seen.pulled < 180_000);
  const held = file.memoryBytes;
  assert.deepEqual((await file.tensor("a")).data, EXPECTED.get("a"));
  assert.equal(file.memoryBytes, held);
  assert.deepEqual(await collect(file), EXPECTED);
  assert.ok(file.memoryBytes <= held - 160_000);
  await assert.rejects(file.tensor("b"), code("unsupported"));
});

test("a slow caller of a stream is not sent more than it asks for", async () => {
  const seen = { pulled: 0 };
  const file = await open(streamOf(FILE, 1000, seen));
  const pass = file.tensors()[Symbol.asyncIterator]();
  assert.equal((await pass.next()).value.name, "a");
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(seen.pulled < 22_000, `${seen.pulled} bytes`);
  await pass.return();
  assert.deepEqual((await file.tensor("b")).data, EXPECTED.get("b"));
});

test("progress counts up to the size of the file", async () => {
  for (const make of Object.values(KINDS)) {
    const steps = [];
    const file = await open(make(), { onProgress: (step) => steps.push(step) });
    await collect(file);
    assert.deepEqual(steps.at(-1), { loaded: FILE.length, total: FILE.length });
    for (const [i, { loaded }] of steps.entries()) assert.ok(i === 0 || loaded >= steps[i - 1].loaded);
  }
});

test("the signal of open ends the open file, also while it decodes", async () => {
  const stop = new AbortController();
  const file = await open(FILE, { signal: stop.signal });
  const pass = file.slices(["b", "c"])[Symbol.asyncIterator]();
  assert.equal((await pass.next()).done, false);
  stop.abort("enough");
  await assert.rejects(pass.next(), (error) => code("aborted")(error) && error.cause === "enough");
  await assert.rejects(file.tensor("a"), code("aborted"));
});

test("closing ends what is under way and what comes later, and cancels the stream", async () => {
  const seen = { cancelled: false };
  let served = 0;
  const stuck = new ReadableStream({
    pull(controller) {
      if (served > 0) return new Promise(() => {});
      served = 1;
      controller.enqueue(FILE.slice(0, 30_000));
    },
    cancel() {
      seen.cancelled = true;
    },
  });
  const file = await open(stuck);
  const waiting = [file.tensor("b"), file.tensor("c"), collect(file)];
  const settled = Promise.allSettled(waiting);
  file.close();
  for (const { reason } of await settled) assert.equal(reason.code, "aborted");
  assert.ok(seen.cancelled);
  await assert.rejects(file.tensor("a"), code("aborted"));
  file.close();
});
