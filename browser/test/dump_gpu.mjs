// Writes what plans do on a GPU, for test_shaders.py: `node dump_gpu.mjs FILE`. Each line of JSON is one case.

import { writeFileSync } from "node:fs";
import { makeStep } from "../dist/gpu/prepare.js";
import { planRun } from "../dist/gpu/steps.js";
import { cases } from "./gpu-cases.mjs";

const base64 = (view) => Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString("base64");

/** The dispatches of a case on a GPU with such features; memories by their numbers. */
function dumped({ operations, shape }, features) {
  const traits = { ...features, bindingBytes: 2 ** 27, gridLimit: 65535 };
  const steps = operations.map((operation) => makeStep(operation, traits));
  const run = planRun(steps, shape, traits);
  const memories = [];
  const numberOf = (memory) => {
    if (!memories.includes(memory)) memories.push(memory);
    return memories.indexOf(memory);
  };
  const dispatches = run.plan.dispatches.map(({ kernel, bindings, sizes, grid }) => {
    return { name: kernel.name, code: kernel.code, bindings: bindings.map(numberOf), sizes: [...sizes], grid };
  });
  const [input, output] = [numberOf(run.input), numberOf(run.output)];
  const held = memories.map(({ bytes, data }) => ({ bytes, data: data === undefined ? null : base64(data) }));
  return { ...features, dispatches, memories: held, input, output };
}

const FEATURES = [false, true].flatMap((f16) => [false, true].map((subgroups) => ({ f16, subgroups })));
const lines = cases().map((each) => {
  const runs = FEATURES.map((features) => dumped(each, features));
  // most kernels have no variant for subgroups
  const used = runs.filter(({ subgroups, dispatches }) => {
    return !subgroups || dispatches.some(({ code }) => code.includes("enable subgroups;"));
  });
  const numbers = { x: each.x, expected: Float32Array.from(each.expected), scale: Float32Array.from(each.scale) };
  const coded = Object.entries(numbers).map(([name, values]) => [name, base64(values)]);
  return JSON.stringify({ name: each.name, runs: used, ...Object.fromEntries(coded) });
});
writeFileSync(process.argv[2], `${lines.join("\n")}\n`);
