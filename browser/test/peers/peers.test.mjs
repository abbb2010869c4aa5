// Libraries that take models of this package with one line changed: their outputs are those for the files that
// `dcz decompress` writes. The models are made by `python -m browser.test.peers.make_models`.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { env, pipeline } from "@huggingface/transformers";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import * as ort from "onnxruntime-web";
import { dczFetch, open } from "../../dist/index.js";

const MODELS = fileURLToPath(new URL("../../../build/browser/models/", import.meta.url));
const CONVERTED = fileURLToPath(new URL("../../../build/browser/data/converted/lenet-5", import.meta.url));
const asked = [];
let server;
let host;

before(async () => {
  server = createServer((request, response) => {
    const name = new URL(request.url, host).pathname.slice(1);
    asked.push(name);
    try {
      response.end(readFileSync(MODELS + name));
    } catch {
      response.writeHead(404).end();
    }
  });
  // runtimes block this process for longer than connections are kept by default
  server.keepAliveTimeout = 600_000;
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  host = `http://127.0.0.1:${server.address().port}/`;
});
after(() => server.close());

/** Numbers between 0 and 1, the same ones in every run. */
function numbers(count) {
  return Float32Array.from({ length: count }, (_, at) => ((at * 2654435761) % 1000) / 1000);
}

for (const [name, input, shape] of [
  ["lenet-5", "x", [2, 1, 28, 28]],
  ["ddddocr", "input1", [1, 1, 64, 160]],
]) {
  test(`ONNX Runtime Web runs ${name}`, async () => {
    ort.env.wasm.numThreads = 1;
    const feeds = { [input]: new ort.Tensor("float32", numbers(shape.reduce((a, b) => a * b)), shape) };
    const run = async (session) => (await session.run(feeds))[session.outputNames[0]].data;
    const expected = await run(await ort.InferenceSession.create(`${MODELS}${name}.onnx`));
    const file = await open(`${host}${name}.dcz`);
    const found = await run(await ort.InferenceSession.create(await file.toOnnx()));
    assert.ok(new Set(expected).size > 8);
    assert.deepEqual(found, expected);
    file.close();
  });
}

test("transformers.js runs MiniLM", async () => {
  Object.assign(env, { allowLocalModels: false, remoteHost: host, remotePathTemplate: "{model}/" });
  const sentences = ["A small model takes little time.", "Nobody waits for a small model."];
  const vectors = async () => {
    // in Node it runs models from its cache on the disk alone
    env.cacheDir = mkdtempSync(join(tmpdir(), "dcz-"));
    const extract = await pipeline("feature-extraction", "minilm", { dtype: "fp32" });
    const found = await extract(sentences, { pooling: "mean", normalize: true });
    await extract.dispose();
    rmSync(env.cacheDir, { recursive: true });
    return found;
  };
  const expected = await vectors();
  assert.ok(asked.includes("minilm/onnx/model.onnx"));
  asked.length = 0;
  env.fetch = dczFetch((url) => (url.endsWith("/model.onnx") ? url.replace(/onnx$/, "dcz") : undefined));
  const found = await vectors();
  assert.deepEqual(found.dims, [2, 384]);
  assert.deepEqual(found.data, expected.data);
  assert.ok(asked.includes("minilm/onnx/model.dcz") && !asked.includes("minilm/onnx/model.onnx"));
});

/** The tensors of a safetensors file of F32. */
function readSafetensors(bytes) {
  const end = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, end)));
  return Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        return { name, shape, data: new Float32Array(bytes.buffer.slice(end + from, end + to)) };
      },
    );
}

/** The logits of LeNet-5. */
function lenet(weights, x) {
  const layer = (name) => ["weight", "bias"].map((part) => weights.get(`${name}.${part}`));
  const convolved = (input, name) => {
    const [weight, bias] = layer(name);
    return tf.maxPool(tf.add(tf.conv2d(input, tf.transpose(weight, [2, 3, 1, 0]), 1, "valid"), bias), 2, 2, "valid");
  };
  const linear = (input, name) => tf.add(tf.matMul(input, layer(name)[0], false, true), layer(name)[1]);
  const maps = convolved(convolved(tf.transpose(x, [0, 2, 3, 1]), "conv1"), "conv2");
  const flat = tf.reshape(tf.transpose(maps, [0, 3, 1, 2]), [-1, 800]);
  return linear(tf.relu(linear(flat, "fc1")), "fc2").dataSync();
}

test("tfjs runs LeNet-5, and agrees with ONNX Runtime", async () => {
  const x = numbers(2 * 28 * 28);
  const run = (tensors) => {
    const weights = new Map(tensors.map((each) => [each.name, tf.tensor(each.data, each.shape)]));
    return lenet(weights, tf.tensor(x, [2, 1, 28, 28]));
  };
  const expected = run(readSafetensors(new Uint8Array(readFileSync(`${CONVERTED}.safetensors`))));
  const file = await open(`${CONVERTED}.dcz`);
  const tensors = [];
  for await (const each of file.tensors()) tensors.push(each);
  file.close();
  const found = run(tensors);
  assert.deepEqual(found, expected);
  const session = await ort.InferenceSession.create(`${MODELS}lenet-5.onnx`);
  const { y } = await session.run({ x: new ort.Tensor("float32", x, [2, 1, 28, 28]) });
  found.forEach((each, at) => {
    assert.ok(Math.abs(each - y.data[at]) < 1e-4 * Math.max(...y.data.map(Math.abs)));
  });
});
