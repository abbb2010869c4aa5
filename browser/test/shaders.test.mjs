// Every kernel of the GPU, compiled by Tint, against its slow twin.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import "./gpu-node.mjs";
import { createGpuBackend, GpuBackend } from "../dist/gpu/backend.js";
import { cases } from "./gpu-cases.mjs";

const CASES = cases();
let backend;
before(async () => {
  backend = await createGpuBackend();
});
after(() => backend?.close());

async function run(on, { operations, shape, x }) {
  const steps = [];
  for (const operation of operations) steps.push(await on.prepare(operation));
  return on.run(steps, x, shape);
}

function close(y, { expected, scale }, tolerance) {
  assert.equal(y.length, expected.length);
  y.forEach((one, i) => {
    const error = Math.abs(one - expected[i]);
    assert.ok(error <= tolerance * scale[i] + 1e-30, `[${i}]: ${one}, expected ${expected[i]}, off by ${error}`);
  });
}

const VARIANTS = {
  "by default": {},
  "without subgroups": { subgroups: false },
  // pieces of at most so many bytes
  "in pieces": { bindingBytes: 20_000 },
  "in a grid of several lines": { gridLimit: 7 },
};

for (const [name, traits] of Object.entries(VARIANTS)) {
  test(`every kernel equals its slow twin ${name}`, async (t) => {
    const on = new GpuBackend(backend.device, false, { ...backend.traits, ...traits });
    for (const each of CASES) {
      const { bindingBytes = Number.POSITIVE_INFINITY } = traits;
      if (4 * Math.max(each.x.length, each.expected.length) > bindingBytes) continue;
      await t.test(each.name, async () => close(await run(on, each), each, 1e-6));
    }
    on.close();
  });
}
