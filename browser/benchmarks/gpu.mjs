// Times AlexNet's fully connected layers on a GPU, packed and dense: node benchmarks/gpu.mjs [LAYER...] prints JSON.
// npm's webgpu runs on Chromium's software GPU, unless VK_ICD_FILENAMES names another: not a speed of a real GPU.

import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import "../test/gpu-node.mjs";
import { open } from "../dist/index.js";
import { describeGpu, measureLayers } from "./gpu-layers.mjs";

const COUNTS = [1, 16];

const layers = process.argv.slice(2);
const names = layers.length > 0 ? layers : ["fc6", "fc7", "fc8"];
const network = new URL("../../reproduce/results/alexnet.dcz", import.meta.url);
const file = await open(new Uint8Array(readFileSync(network)));
const rows = [];
for await (const row of measureLayers(file, names, COUNTS)) {
  console.error(JSON.stringify(row));
  rows.push(row);
}
console.log(
  JSON.stringify({ gpu: await describeGpu(), cpu: cpus()[0]?.model, network: "alexnet", rows }, undefined, 1),
);
process.exit(0);
