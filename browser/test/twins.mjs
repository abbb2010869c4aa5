// Slow, obvious versions of what compute.wasm computes, in float64; and weights to try them on.

/** Numbers from 0 to 1 that a seed determines. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 2246822519);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 3266489917);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
}

/** Weights of a density, of so many distinct values. */
export function weightsOf(count, density, centroids, seed = 1) {
  const next = random(seed);
  const codebook = Array.from({ length: centroids }, (_, i) => Math.fround((i + 1) / 16 - next() * centroids * 0.12));
  return Float32Array.from({ length: count }, () =>
    next() < density ? codebook[Math.floor(next() * centroids)] || 0.5 : 0,
  );
}

export function inputsOf(count, seed = 7) {
  const next = random(seed);
  return Float32Array.from({ length: count }, () => 2 * next() - 1);
}

const ARRAYS = { F64: Float64Array, F32: Float32Array, F16: Uint16Array, BF16: Uint16Array, I32: Int32Array };

/** What an open file gives: tensors by name as { shape, data, dtype?, tiedTo? }, in pieces of `piece` bytes. */
export function fileOf(tensors, { piece = 4000 } = {}) {
  const entries = new Map();
  const bytes = new Map();
  for (const [name, { shape, data, dtype = "F32", tiedTo }] of Object.entries(tensors)) {
    if (data) bytes.set(name, new Uint8Array(new ARRAYS[dtype](data).buffer));
    const denseBytes = bytes.get(name)?.length ?? 0;
    entries.set(name, { name, shape, dtype, coder: "raw", bytes: 0, denseBytes, ...(tiedTo && { tiedTo }) });
  }
  const passes = [];
  return {
    entries,
    passes,
    async *slices(names) {
      const wanted = typeof names === "string" ? [names] : names;
      passes.push(wanted);
      for (const name of entries.keys()) {
        const array = wanted.includes(name) && bytes.get(name);
        for (let at = 0; array && at < array.length; at += piece) yield array.slice(at, at + piece);
      }
    },
  };
}

/** The dense matrix of packed weights, read as src/network/packed.ts describes them. */
export function unpacked(packed) {
  const { rows, cols, skipBits, codeBits, words, starts, order, codebook } = packed;
  const bits = Math.floor(32 / packed.perWord);
  const dense = new Float32Array(rows * cols);
  for (let stored = 0; stored < rows; stored++) {
    const [block, lane] = [Math.floor(stored / 32), stored % 32];
    let column = -1;
    for (let at = starts[block] + lane; at < starts[block + 1]; at += 32) {
      for (let entry = 0; entry < packed.perWord; entry++) {
        const value = Math.floor(words[at] / 2 ** (entry * bits)) % 2 ** bits;
        const skip = value % 2 ** skipBits;
        column += Math.min(skip + 1, 2 ** skipBits - 1);
        if (skip === 2 ** skipBits - 1) continue;
        const code = Math.floor(value / 2 ** skipBits);
        if (code >= 2 ** codeBits || column >= cols) throw new Error(`no code ${code}, no column ${column}`);
        dense[(order ? order[stored] : stored) * cols + column] = codebook[code];
      }
    }
  }
  return dense;
}

/** x W^T + bias for x (count, cols). */
export function linear(weights, rows, cols, bias, x) {
  const y = [];
  for (let at = 0; at < x.length; at += cols) {
    for (let row = 0; row < rows; row++) {
      let sum = bias ? bias[row] : 0;
      for (let column = 0; column < cols; column++) sum += weights[row * cols + column] * x[at + column];
      y.push(sum);
    }
  }
  return y;
}

/** All places of a box. */
function* places(box, at = []) {
  if (at.length === box.length) yield at;
  else for (let i = 0; i < box[at.length]; i++) yield* places(box, [...at, i]);
}

const flat = (shape, at) => at.reduce((sum, place, axis) => sum * shape[axis] + place, 0);

/** A convolution of x (count, channels, ...extents) with weights (outputs, channels / groups, ...kernel). */
export function conv(weights, shape, bias, x, given, { stride, padding, dilation, groups }) {
  const axes = shape.length - 2;
  const kernel = shape.slice(2);
  const counts = kernel.map(
    (length, a) => Math.floor((given[2 + a] + 2 * padding[a] - dilation[a] * (length - 1) - 1) / stride[a]) + 1,
  );
  const y = [];
  for (const [image, out, ...at] of places([given[0], shape[0], ...counts])) {
    let sum = bias ? bias[out] : 0;
    const group = Math.floor(out / (shape[0] / groups));
    for (const [channel, ...tap] of places(shape.slice(1))) {
      const from = tap.map((place, a) => at[a] * stride[a] + place * dilation[a] - padding[a]);
      if (from.some((place, a) => place < 0 || place >= given[2 + a])) continue;
      const input = [image, group * shape[1] + channel, ...from];
      sum += weights[flat(shape, [out, channel, ...tap])] * x[flat(given, input)];
    }
    y.push(sum);
  }
  return { shape: [given[0], shape[0], ...counts], data: y, axes };
}

/** The largest difference, in parts of the largest number; NaNs and infinities must be in the same places. */
export function error(found, expected) {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let [most, largest] = [0, 1e-30];
  expected.forEach((number, i) => {
    if (!Number.isFinite(number)) {
      if (!Object.is(number, found[i])) most = Number.POSITIVE_INFINITY;
      return;
    }
    const difference = Math.abs(found[i] - number);
    most = difference <= most ? most : Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    largest = Math.max(largest, Math.abs(number));
  });
  return most / largest;
}
