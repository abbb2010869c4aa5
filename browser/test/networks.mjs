// The networks of reproduce/results, and what Python's deepcompression.runtime gives for them (make_data.py).

import { existsSync, readFileSync } from "node:fs";
import { conv2d, flatten, linear, maxPool2d, open, relu } from "../dist/index.js";

const DATA = new URL("../../build/browser/data/", import.meta.url);
const NETWORKS = new URL("../../reproduce/results/", import.meta.url);

const CONVOLUTIONS = [conv2d("conv1"), maxPool2d(2), conv2d("conv2"), maxPool2d(2)];
export const LENET_5 = [...CONVOLUTIONS, flatten(), linear("fc1"), relu(), linear("fc2")];
export const LENET_300_100 = [flatten(), linear("fc1"), relu(), linear("fc2"), relu(), linear("fc3")];
/** AlexNet's fully connected layers. */
export const ALEXNET = [linear("fc6"), relu(), linear("fc7"), relu(), linear("fc8")];

/** The arrays of NAME.bin by their names; undefined if make_data.py has not made it. */
export function arrays(name) {
  if (!existsSync(new URL(`${name}.json`, DATA))) return undefined;
  const { tensors } = JSON.parse(readFileSync(new URL(`${name}.json`, DATA), "utf8"));
  const bytes = new Uint8Array(readFileSync(new URL(`${name}.bin`, DATA)));
  const of = ({ name, offset, bytes: length }) => [name, new Float32Array(bytes.slice(offset, offset + length).buffer)];
  return Object.fromEntries(tensors.map(of));
}

export const openNetwork = (name) => open(new Uint8Array(readFileSync(new URL(`${name}.dcz`, NETWORKS))));
