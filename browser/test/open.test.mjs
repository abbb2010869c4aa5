// open() of bytes, blobs, streams, responses and paths; tensors, slices and passes of the open file.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { DczError, open } from "../dist/index.js";
import { collect, dcz, EXPECTED, FILE, noise } from "./writing.mjs";

const code = (expected) => (error) => error instanceof DczError && error.code === expected;

/** A stream of a file in chunks of so many bytes; `pulled` counts the bytes that somebody asked for. */
function streamOf(file, chunkBytes, seen = { pulled: 0, cancelled: false }) {
  let at = 0;
  const stream = new ReadableStream(
    {
      pull(controller) {
        if (at >= file.length) return controller.close();
        controller.enqueue(file.slice(at, at + chunkBytes));
        at += chunkBytes;
        seen.pulled = Math.min(at, file.length);
      },
      cancel() {
        seen.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return stream;
}

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

const KINDS = {
  "an ArrayBuffer": () => FILE.slice().buffer,
  bytes: () => FILE,
  "bytes within others": () => {
    const wide = new Uint8Array(FILE.length + 3);
    wide.set(FILE, 3);
    return wide.subarray(3);
  },
  "a Blob": () => new Blob([FILE]),
  "a File": () => new File([FILE], "model.dcz"),
  "a Response": () => new Response(FILE),
  "a stream": () => streamOf(FILE, 1000),
  "a stream of one chunk": () => streamOf(FILE, FILE.length),
};

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
  await assert.rejects(open(new TextEncoder().encode("<!doctype html>")), code("magic"));
  const newer = FILE.slice();
  newer[4] = 2;
  await assert.rejects(open(newer), code("version"));
});

test("a damaged payload is named, and its neighbours are given", async () => {
  const damaged = FILE.slice();
  damaged[FILE.length - 150_000] ^= 1;
  const file = await open(damaged);
  await assert.rejects(file.tensor("b"), (error) => code("checksum")(error) && error.message.includes('"b"'));
  assert.deepEqual((await file.tensor("a")).data, EXPECTED.get("a"));
  assert.deepEqual((await file.tensor("c")).data, EXPECTED.get("c"));
});

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

test("a name that is not there is an error, and the file stays usable", async () => {
  const file = await open(FILE);
  await assert.rejects(file.tensor("d"), code("not-found"));
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
  await assert.rejects(open(new ReadableStream({ start: (c) => c.enqueue("text") })), code("argument"));
});
