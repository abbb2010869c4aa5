// Times layers on a GPU, packed and dense; runs in Node (gpu.mjs) and in a page.

import { createGpuBackend } from "../dist/gpu/backend.js";
import { pack } from "../dist/network/pack.js";

/** Runs in a row, so that the clock's steps do not matter; the least of so many measurements counts. */
const LEAST_MILLISECONDS = 20;
const MEASUREMENTS = 3;

/** The least milliseconds of a layer's kernels. */
async function time(backend, steps, shape) {
  const once = () => backend.time(steps, shape, 1);
  await once(); // compiles, and fills caches
  const { milliseconds } = await once();
  const rounds = Math.min(1000, Math.max(1, Math.ceil(LEAST_MILLISECONDS / Math.max(milliseconds, 0.01))));
  const all = [];
  while (all.length < MEASUREMENTS) all.push(await backend.time(steps, shape, rounds));
  return all.reduce((least, each) => (each.milliseconds < least.milliseconds ? each : least));
}

/**
 * Fully connected layers of an open file, for each number of vectors: milliseconds of the GPU for packed weights and
 * for dense ones, bytes that either holds, and how far their results are apart. `device` may be the caller's.
 */
export async function* measureLayers(file, names, counts, options = {}) {
  for (const name of names) {
    const versions = {};
    const weights = {
      packed: await pack(file, `${name}.weight`, () => true),
      dense: await pack(file, `${name}.weight`, () => false),
    };
    const backend = await createGpuBackend(options);
    if (backend === undefined) throw new Error("there is no WebGPU adapter");
    for (const [kind, matrix] of Object.entries(weights)) {
      versions[kind] = [await backend.prepare({ kind: "linear", weights: matrix, bias: undefined })];
    }
    const { rows, cols } = weights.dense;
    for (const count of counts) {
      const row = { layer: name, rows, cols, count, survivors: weights.packed.survivors };
      const x = Float32Array.from({ length: count * cols }, (_, i) => Math.sin(i));
      const outputs = {};
      for (const [kind, steps] of Object.entries(versions)) {
        outputs[kind] = await backend.run(steps, x, [count, cols]);
        const { milliseconds, by } = await time(backend, steps, [count, cols]);
        Object.assign(row, { by, [kind]: { milliseconds, bytes: steps[0].heldBytes } });
      }
      const largest = outputs.dense.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
      row.difference =
        outputs.packed.reduce((most, one, i) => Math.max(most, Math.abs(one - outputs.dense[i])), 0) / largest;
      yield row;
    }
    backend.close();
  }
}

/** What is known of the GPU: a software adapter says nothing of the speed of a real one. */
export async function describeGpu() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return undefined;
  const { vendor, architecture, description } = adapter.info;
  const software = adapter.info.isFallbackAdapter || /swiftshader|llvmpipe/i.test(`${architecture} ${description}`);
  return { vendor, architecture, description, software };
}
