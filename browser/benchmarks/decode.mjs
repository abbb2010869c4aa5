// Times the decoder in Node: node benchmarks/decode.mjs ROUNDS FILE... prints a JSON list, for each file and tensor.

import { readFileSync } from "node:fs";
import { Decoder } from "../dist/decode/decoder.js";

/** The least milliseconds of `rounds` that a tensor takes: its checksum, and its bytes in an array of JavaScript. */
function time(decoder, entry, payload, rounds) {
  const dense = new Uint8Array(entry.denseBytes);
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; ++round) {
    const start = performance.now();
    let at = 0;
    for (const slice of decoder.decode(entry, payload)) {
      dense.set(slice, at);
      at += slice.length;
    }
    least = Math.min(least, performance.now() - start);
  }
  return least;
}

const [rounds, ...paths] = process.argv.slice(2);
const results = [];
for (const path of paths) {
  const file = new Uint8Array(readFileSync(path));
  const decoder = await Decoder.create();
  const tensors = {};
  for (const entry of decoder.index(file.subarray(0, Decoder.indexBytes(file))).entries) {
    if (entry.tiedTo !== undefined) continue;
    const payload = file.subarray(entry.offset, entry.offset + entry.bytes);
    tensors[entry.name] = { bytes: entry.bytes, ms: time(decoder, entry, payload, Number(rounds)) };
  }
  results.push({ memory: decoder.memoryBytes, tensors });
}
console.log(JSON.stringify(results));
