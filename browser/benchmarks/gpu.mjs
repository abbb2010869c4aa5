// Times AlexNet's fully connected layers on a GPU, packed and dense: node benchmarks/gpu.mjs [COUNT...] prints
// JSON; counts are of vectors.
// npm's webgpu runs on Chromium's software GPU, unless VK_ICD_FILENAMES names another: not a speed of a real GPU.

import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import "../test/gpu-node.mjs";
import { open } from "../dist/index.js";
import { describeGpu, measureLayers } from "./gpu-layers.mjs";

const given = process.argv.slice(2).map(Number);
const counts = given.length > 0 ? given : [1, 16];
const network = new URL("../../reproduce/results/alexnet.dcz", import.meta.url);
const file = await open(new Uint8Array(readFileSync(network)));
const rows = [];
for await (const row of measureLayers(file, ["fc6", "fc7", "fc8"], counts)) {
  console.error(JSON.stringify(row));
  rows.push(row);
}
console.log(
  JSON.stringify({ gpu: await describeGpu(), cpu: cpus()[0]?.model, network: "alexnet", rows }, undefined, 1),
);
process.exit(0);
