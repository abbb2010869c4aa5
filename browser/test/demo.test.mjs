// The demo page's own arithmetic: ink to pixels as MNIST has them, and numbers as people read them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { normalised, softmax, toMnist } from "../demo/ink.js";
import { bytes, fetching, median, percent, time, times } from "../demo/numbers.js";
import { Task } from "../demo/tasks.js";

const SIDE = 28;
const images = gunzipSync(readFileSync(new URL("../../data/mnist/t10k-images-idx3-ubyte.gz", import.meta.url)));
const image = (index) => images.subarray(16 + 784 * index, 16 + 784 * (index + 1));

/** A digit of MNIST drawn `times` as large, its corner at (left, top) of a square of paper. */
function drawn(pixels, side, times, left = 0, top = 0) {
  const ink = new Uint8Array(side * side);
  for (let y = 0; y < SIDE * times; y++) {
    for (let x = 0; x < SIDE * times; x++) {
      const [toX, toY] = [left + x, top + y];
      if (toX < 0 || toX >= side || toY < 0 || toY >= side) continue;
      ink[toY * side + toX] = pixels[Math.floor(y / times) * SIDE + Math.floor(x / times)];
    }
  }
  return ink;
}

test("digits of MNIST come back bit for bit, wherever and however large they are drawn", () => {
  for (let index = 0; index < 40; index++) {
    const pixels = [...image(index)];
    assert.deepEqual([...toMnist(drawn(pixels, 280, 10), 280, 280)], pixels);
    assert.deepEqual([...toMnist(drawn(pixels, 280, 5, 100, -10), 280, 280)], pixels);
    assert.deepEqual([...toMnist(drawn(pixels, 280, 1, 3, 200), 280, 280)], pixels);
  }
});

test("paper without ink gives nothing, and a single dot fits", () => {
  assert.equal(toMnist(new Uint8Array(100), 10, 10), undefined);
  const dot = new Uint8Array(100);
  dot[0] = 255;
  const pixels = toMnist(dot, 10, 10);
  assert.equal(pixels.filter((value) => value === 255).length, 400);
  // a line at the edge stays within the picture
  const line = new Uint8Array(10000).fill(255, 0, 100);
  assert.equal(toMnist(line, 100, 100).filter((value) => value > 0).length, 20);
});

test("inputs are scaled as reproduce/data.py scales them", () => {
  const source = readFileSync(new URL("../../reproduce/data.py", import.meta.url), "utf8");
  const [mean, deviation] = /MEAN, DEVIATION = ([\d.]+), ([\d.]+)/.exec(source).slice(1).map(Number);
  const expected = [0, 100, 255].map((value) => Math.fround((value / 255 - mean) / deviation));
  assert.deepEqual([...normalised([0, 100, 255])], expected);
});

test("probabilities sum to one, whatever the outputs", () => {
  const found = softmax(Float32Array.of(1000, 999, -1000));
  assert.ok(Math.abs(found.reduce((sum, part) => sum + part, 0) - 1) < 1e-12);
  assert.ok(Math.abs(found[0] / found[1] - Math.E) < 1e-6);
});

test("numbers read well", () => {
  assert.deepEqual([1, 11173, 394000, 6658072, 150994944].map(bytes), [
    "1 B",
    "11,173 B",
    "394 kB",
    "6.66 MB",
    "151 MB",
  ]);
  assert.deepEqual([0.214, 4.68, 34, 386.2, 1234].map(time), ["0.21 ms", "4.7 ms", "34 ms", "386 ms", "1.23 s"]);
  assert.deepEqual([1.24, 9.96, 42.2].map(times), ["1.2x", "10.0x", "42x"]);
  assert.deepEqual([0, 0.032, 0.84, 0.9996, 1].map(percent), ["0.0 %", "3.2 %", "84 %", "99.9 %", "99.9 %"]);
  assert.deepEqual([[3], [4, 1, 2], [1, 4, 2, 3]].map(median), [3, 2, 2.5]);
});

test("progress is told in tens of percents, and never beyond all", () => {
  assert.equal(fetching("fc6", 0, 3_580_000), "Fetching fc6: 0 % of 3.58 MB");
  assert.equal(fetching("fc6", 1_700_000, 3_580_000), "Fetching fc6: 40 % of 3.58 MB");
  assert.equal(fetching("fc6", 3_700_000, 3_580_000), "Fetching fc6: 100 % of 3.58 MB");
});

test("a call of a worker that has ended fails at once", async () => {
  globalThis.Worker = class {
    postMessage() {}
    terminate() {}
  };
  const task = new Task("never.js");
  const underWay = assert.rejects(task.call("read"), { code: "aborted" });
  task.close();
  await underWay;
  await assert.rejects(task.call("read"), { code: "aborted" });
});
