// Convolutions in WebAssembly: over padded images, in phases (wasm/compute_images.c).

import { axesOf, type ConvOperation, type Window, windowCounts } from "../network/operations.js";
import type { Compute, Kernel } from "./backend.js";
import { choosesDense } from "./choice.js";
import type { ComputeInstance } from "./instance.js";
import type { Matrices } from "./matrix.js";

/** Numbers of an image that are worked on at once, for all rows of the weights, stay in a cache. */
const BAND_NUMBERS = 65536;
const LEAST_BAND = 256;
/** Places are computed in groups of so many. */
const GROUP = 8;

/** How an image lies in memory for a window: dcz_images of wasm/compute_images.c, and sizes that follow. */
interface Layout {
  readonly fields: Uint32Array;
  readonly outputs: readonly [number, number, number];
  /** Numbers a channel. */
  readonly channelSize: number;
  /** Places from the first output to the last. */
  readonly places: number;
}

function layout(window: Window, channels: number, shape: readonly number[]): Layout {
  const extents = axesOf(shape);
  const outputs = windowCounts(window, extents);
  const fields = [channels];
  const lengths: number[] = [];
  let channelSize = 1;
  for (const axis of [0, 1, 2] as const) {
    const [kernel, stride, dilation] = [window.kernel[axis], window.stride[axis], window.dilation[axis]];
    const reach = (kernel - 1) * dilation;
    const phases = Math.min(stride, reach + 1);
    const length = outputs[axis] + Math.floor(reach / stride);
    fields.push(extents[axis], kernel, stride, window.padding[axis], dilation, phases, length);
    lengths.push(length);
    channelSize *= phases * length;
  }
  const [, height = 1, width = 1] = lengths;
  const places = ((outputs[0] - 1) * height + outputs[1] - 1) * width + outputs[2];
  return { fields: Uint32Array.from(fields), outputs, channelSize, places };
}

export function convKernel(instance: ComputeInstance, matrices: Matrices, operation: ConvOperation): Kernel {
  const { functions } = instance;
  const { weights, bias, window, groups } = operation;
  const { rows, cols } = weights;
  const matrix = matrices.hold(weights, bias);
  const dense = choosesDense(weights);
  const channels = (weights.shape[1] ?? 0) * groups;

  const compute: Compute = (x, y, shape) => {
    const { fields, outputs, channelSize, places } = layout(window, channels, shape);
    const images = instance.put(fields);
    const pitch = Math.ceil(places / GROUP) * GROUP;
    const spread = instance.give(4 * (channels * channelSize + GROUP));
    const offsets = instance.give(4 * cols);
    const sums = instance.give(4 * rows * pitch);
    const scratch = instance.give(16 * (cols + 1));
    functions.image_offsets(images, channels / groups, offsets);
    const band = Math.max(LEAST_BAND, Math.floor(BAND_NUMBERS / Math.max(1, channels) / GROUP) * GROUP);
    const image = 4 * shape.slice(1).reduce((all, length) => all * length, 1);
    const output = 4 * outputs.reduce((all, length) => all * length, rows);
    const perGroup = rows / groups;
    for (let i = 0; i < (shape[0] ?? 0); i++) {
      functions.spread(images, x + i * image, spread);
      for (let at = 0; at < places; at += band) {
        const some = Math.min(band, places - at);
        for (let group = 0; group < groups; group++) {
          const from = group * perGroup;
          const input = spread + 4 * (group * (channels / groups) * channelSize + at);
          const sum = sums + 4 * (from * pitch + at);
          functions.tiles(
            matrix.address,
            from,
            from + perGroup,
            offsets,
            input,
            some,
            sum,
            pitch,
            dense ? 1 : 0,
            scratch,
          );
        }
      }
      functions.gather(images, sums, pitch, ...outputs, rows, y + i * output);
    }
  };
  return { kernel: dense ? "dense" : weights.kind, compute };
}
