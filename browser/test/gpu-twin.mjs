// Slow twins of the GPU's kernels, in float64, and of the packer.

import { axesOf, outputShape, product } from "../dist/network/operations.js";
import { matrixOf, Packed } from "../dist/network/packed.js";

/** Numbers from 0 to 1 that a seed decides (mulberry32). */
export function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A matrix of a density and of so many distinct survivors. */
export function randomShared(random, shape, density, distinct) {
  const codebook = Float32Array.from({ length: distinct }, (_, i) => (i % 2 ? -1 : 1) * (0.1 + i / distinct));
  const dense = new Float32Array(product(shape));
  for (let i = 0; i < dense.length; i += 1) {
    if (random() < density) dense[i] = codebook[Math.floor(random() * distinct)];
  }
  return { shape, dense, codebook };
}

/** The layout at the top of src/network/packed.ts, entry by entry. `sorted` stores longer rows first. */
export function packSlowly({ shape, dense, codebook }, skipBits, sorted) {
  const [rows, cols] = matrixOf(shape);
  const codeBits = Math.max(1, Math.ceil(Math.log2(codebook.length)));
  const [filler, bits] = [2 ** skipBits - 1, skipBits + codeBits];
  const perWord = Math.floor(32 / bits);
  const wordsOf = (row) => {
    const entries = [];
    let zeros = 0;
    for (let col = 0; col < cols; col += 1, zeros += 1) {
      const weight = dense[row * cols + col];
      if (weight === 0) continue;
      for (; zeros >= filler; zeros -= filler) entries.push(filler);
      entries.push((codebook.indexOf(weight) << skipBits) | zeros);
      zeros = -1;
    }
    while (entries.length % perWord) entries.push(filler);
    const words = [];
    for (let i = 0; i < entries.length; i += perWord) words.push(word(entries.slice(i, i + perWord)));
    return words;
  };
  const word = (entries) => entries.reduceRight((all, entry) => all * 2 ** bits + entry, 0);
  const packed = Array.from({ length: rows }, (_, row) => wordsOf(row));
  const order = packed.map((_, row) => row);
  if (sorted) order.sort((a, b) => packed[b].length - packed[a].length);
  const [starts, words] = [[0], []];
  const empty = word(Array(perWord).fill(filler));
  for (let block = 0; block * 32 < rows; block += 1) {
    const stored = Array.from({ length: 32 }, (_, i) => packed[order[block * 32 + i]] ?? []);
    const most = Math.max(...stored.map((row) => row.length));
    for (let k = 0; k < most; k += 1) for (const row of stored) words.push(row[k] ?? empty);
    starts.push(words.length);
  }
  return new Packed({
    shape,
    skipBits,
    codeBits,
    words: Uint32Array.from(words),
    starts: Uint32Array.from(starts),
    order: sorted ? Uint32Array.from(order) : undefined,
    codebook,
    survivors: dense.reduce((count, weight) => count + (weight !== 0), 0),
  });
}

/** What an operation gives, in float64; `dense` are the weights of a layer that has them packed. */
export function compute(operation, x, shape, dense) {
  const after = outputShape(operation, shape);
  switch (operation.kind) {
    case "linear":
      return products(dense, operation, x, product(shape.slice(0, -1)));
    case "conv":
      return convolution(dense, operation, x, shape, after);
    case "pool":
    case "adaptivePool":
      return pool(operation, x, shape, after);
    case "scale": {
      const channel = product(shape.slice(2));
      const of = (i) => Math.floor(i / channel) % shape[1];
      return x.map((one, i) => one * operation.factor[of(i)] + operation.term[of(i)]);
    }
    case "activation":
      return x.map(ACTIVATIONS[operation.of](operation.slope));
    case "softmax":
      return softmax(x, shape, operation.dim);
    case "flatten":
      return x;
  }
}

const ACTIVATIONS = {
  relu: () => (one) => Math.max(one, 0),
  leakyRelu: (slope) => (one) => (one > 0 ? one : one * slope),
  sigmoid: () => (one) => 1 / (1 + Math.exp(-one)),
  tanh: () => Math.tanh,
};

function products(dense, { weights: { rows, cols }, bias }, x, vectors) {
  const y = new Float64Array(vectors * rows);
  for (let v = 0; v < vectors; v += 1) {
    for (let row = 0; row < rows; row += 1) {
      let sum = bias?.[row] ?? 0;
      for (let col = 0; col < cols; col += 1) sum += dense[row * cols + col] * x[v * cols + col];
      y[v * rows + row] = sum;
    }
  }
  return y;
}

/** All places of some extents, in order. */
function places(extents) {
  return extents.reduce((all, n) => all.flatMap((at) => Array.from({ length: n }, (_, i) => [...at, i])), [[]]);
}

function convolution(dense, { weights, bias, window, groups }, x, shape, after) {
  const [channels, extents, counts] = [weights.shape[1], axesOf(shape), axesOf(after)];
  const taps = places(window.kernel);
  const [image, volume] = [product(extents), product(counts)];
  const y = new Float64Array(product(after));
  places(counts).forEach((spot, at) => {
    // where each tap lies in an image; undefined in the padding
    const elements = taps.map((tap) => {
      const of = tap.map((i, a) => spot[a] * window.stride[a] - window.padding[a] + i * window.dilation[a]);
      if (of.some((i, a) => i < 0 || i >= extents[a])) return undefined;
      return (of[0] * extents[1] + of[1]) * extents[2] + of[2];
    });
    for (let plane = 0; plane < after[0] * after[1]; plane += 1) {
      const row = plane % after[1];
      const group = Math.floor(row / (weights.rows / groups));
      const first = Math.floor(plane / after[1]) * shape[1] + group * channels;
      let sum = bias?.[row] ?? 0;
      for (let channel = 0; channel < channels; channel += 1) {
        elements.forEach((element, tap) => {
          const weight = dense[(row * channels + channel) * taps.length + tap];
          if (element !== undefined) sum += weight * x[(first + channel) * image + element];
        });
      }
      y[plane * volume + at] = sum;
    }
  });
  return y;
}

function pool(operation, x, shape, after) {
  const [height, width] = shape.slice(2);
  // begin and end of a window along an axis, and how many elements a mean counts
  const span = (at, extent, outputs, axis) => {
    if (operation.kind === "adaptivePool") {
      const [begin, end] = [Math.floor((at * extent) / outputs), Math.ceil(((at + 1) * extent) / outputs)];
      return [begin, end, end - begin];
    }
    const { kernel, stride, padding } = operation.window;
    const begin = at * stride[axis] - padding[axis];
    const end = Math.min(begin + kernel[axis], extent + padding[axis]);
    const inside = [Math.max(begin, 0), Math.min(end, extent)];
    return [...inside, operation.countPadding ? end - begin : inside[1] - inside[0]];
  };
  return Float64Array.from(places(after), ([image, channel, line, column]) => {
    const [top, bottom, lines] = span(line, height, after[2], 1);
    const [left, right, columns] = span(column, width, after[3], 2);
    const found = [];
    for (let i = top; i < bottom; i += 1) {
      for (let j = left; j < right; j += 1) found.push(x[((image * shape[1] + channel) * height + i) * width + j]);
    }
    if (operation.of === "max") return Math.max(...found);
    return found.reduce((sum, one) => sum + one, 0) / (lines * columns);
  });
}

function softmax(x, shape, dim) {
  const axis = dim < 0 ? shape.length + dim : dim;
  const [length, step] = [shape[axis], product(shape.slice(axis + 1))];
  return x.map((one, i) => {
    const first = i - (Math.floor(i / step) % length) * step;
    let sum = 0;
    for (let k = 0; k < length; k += 1) sum += Math.exp(x[first + k * step] - one);
    return 1 / sum;
  });
}
