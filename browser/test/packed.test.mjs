// Packed weights hold exactly the weights of the file.

import assert from "node:assert/strict";
import { test } from "node:test";
import { pack } from "../dist/network/pack.js";
import { fileOf, unpacked, weightsOf } from "./twins.mjs";

const packOf = (shape, data, options) => pack(fileOf({ w: { shape, data } }, options), "w");
const bitsOf = (floats) => [...new Uint32Array(floats.buffer)];

for (const [rows, cols] of [
  [1, 1],
  [1, 5000],
  [5000, 1],
  [33, 257],
  [64, 300],
  [7, 40000],
]) {
  for (const density of [0, 0.001, 0.05, 0.3, 1]) {
    for (const centroids of [1, 2, 3, 16, 17, 128, 256]) {
      if (rows * cols > 20000 && centroids % 16 === 1) continue;
      test(`${rows} x ${cols}, density ${density}, ${centroids} centroids`, async () => {
        const data = weightsOf(rows * cols, density, centroids);
        const packed = await packOf([rows, cols], data);
        assert.equal(packed.kind, "packed");
        assert.deepEqual(unpacked(packed), data);
        assert.equal(packed.survivors, data.filter((weight) => weight !== 0).length);
        const codebook = new Set(data.filter((weight) => weight !== 0));
        assert.deepEqual(
          [...packed.codebook],
          [...codebook].sort((a, b) => a - b),
        );
      });
    }
  }
}

test("every gap around the lengths of fillers is exact", async () => {
  for (const centroids of [2, 16, 200, 256]) {
    const gaps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 30, 31, 32, 33, 254, 255, 256, 257, 509, 510, 511, 512, 766];
    const data = new Float32Array(gaps.reduce((a, b) => a + b) + centroids + 300);
    let column = -1;
    for (const gap of gaps) {
      column += gap;
      data[column] = 1;
    }
    for (let i = 0; i < centroids; i++) data[column + 1 + i] = i + 1;
    assert.deepEqual(unpacked(await packOf([1, data.length], data)), data);
  }
});

test("rows of unequal length are sorted, and take fewer words", async () => {
  const data = new Float32Array(64 * 1000);
  for (let row = 0; row < 64; row += 8) data.fill(1, row * 1000, row * 1000 + 900);
  const packed = await packOf([64, 1000], data);
  assert.deepEqual([...packed.order.subarray(0, 9)], [0, 8, 16, 24, 32, 40, 48, 56, 1]);
  assert.deepEqual(unpacked(packed), data);
  assert.ok(packed.bytes < 0.3 * 32 * 900);
});

test("-0, NaN and infinities are survivors, bit for bit", async () => {
  const data = Float32Array.of(0, -0, Number.NaN, 1, Number.POSITIVE_INFINITY, 0, Number.NEGATIVE_INFINITY, -1e-45);
  const packed = await packOf([2, 4], data);
  assert.equal(packed.survivors, 6);
  assert.deepEqual(bitsOf(unpacked(packed)), bitsOf(data));
  assert.deepEqual([...packed.codebook], [Number.NEGATIVE_INFINITY, -1.401298464324817e-45, -0, 1, Infinity, NaN]);
});

test("more than 256 distinct survivors stay dense, wherever the 257th stands", async () => {
  for (const at of [0, 16383, 16384, 40000, 59743]) {
    const data = weightsOf(60000, 0.3, 200);
    for (let i = 0; i < 257; i++) data[at + i - (at ? 256 : 0)] = 100 + i;
    for (const piece of [4, 4000, 240000]) {
      if (piece === 4 && at !== 16384) continue;
      const weights = await packOf([60, 1000], data, { piece });
      assert.equal(weights.kind, "dense");
      assert.deepEqual(weights.data, data);
      assert.equal(weights.survivors, data.filter((weight) => weight !== 0).length);
    }
  }
});

test("what a rule leaves dense is the same", async () => {
  const data = weightsOf(33 * 1000, 0.02, 16);
  const weights = await pack(fileOf({ w: { shape: [33, 1000], data } }), "w", (...all) => {
    assert.deepEqual(all, [33, 1000, data.filter((weight) => weight !== 0).length, new Set(data).size - 1]);
    return false;
  });
  assert.deepEqual(weights.data, data);
});

test("empty tensors have no words", async () => {
  for (const shape of [
    [0, 5],
    [5, 0],
    [0, 0],
    [40, 0, 3],
  ]) {
    const packed = await packOf(shape, new Float32Array(0));
    assert.equal(packed.words.length, 0);
    assert.equal(packed.codebook.length, 0);
  }
});

test("floats of other widths are taken as float32", async () => {
  const shape = [1, 8];
  const f16 = { shape, data: [0, 0x3c00, 0xbc00, 1, 0x7bff, 0x7c00, 0xfc00, 0x8000], dtype: "F16" };
  const f16s = [0, 1, -1, 2 ** -24, 65504, Infinity, -Infinity, -0];
  const bf16 = { shape, data: [0, 0x3f80, 0xbf80, 1, 0x4049, 0x7f80, 0xff80, 0x8000], dtype: "BF16" };
  const bf16s = [0, 1, -1, 2 ** -133, 3.140625, Infinity, -Infinity, -0];
  for (const [tensor, expected] of [
    [f16, f16s],
    [bf16, bf16s],
  ]) {
    const file = fileOf({ w: tensor }, { piece: 6 });
    assert.deepEqual(bitsOf(unpacked(await pack(file, "w"))), bitsOf(Float32Array.from(expected)));
    assert.deepEqual(bitsOf((await pack(file, "w", () => false)).data), bitsOf(Float32Array.from(expected)));
  }
  const f64 = fileOf({ w: { shape: [1, 3], data: [0.1, 0, 1e300], dtype: "F64" } });
  assert.deepEqual([...unpacked(await pack(f64, "w"))], [Math.fround(0.1), 0, Infinity]);
});
