// Floats of a file's dtypes as float32.

import { DczError } from "../errors.js";
import type { Dtype } from "../types.js";

/** The dtypes that weights have, and the bytes of an element. */
export const FLOAT_BYTES: ReadonlyMap<Dtype, number> = new Map([
  ["F64", 8],
  ["F32", 4],
  ["F16", 2],
  ["BF16", 2],
]);

function fromHalf(bits: number): number {
  const sign = bits >> 15 ? -1 : 1;
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}

/** Little-endian floats of a dtype out of `FLOAT_BYTES`, rounded to float32. */
export function toFloat32(dtype: Dtype, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const copy = bytes.slice();
  switch (dtype) {
    case "F32":
      return new Float32Array(copy.buffer);
    case "F64":
      return Float32Array.from(new Float64Array(copy.buffer));
    case "F16":
      return Float32Array.from(new Uint16Array(copy.buffer), fromHalf);
    case "BF16":
      return new Float32Array(Uint32Array.from(new Uint16Array(copy.buffer), (bits) => bits << 16).buffer);
    default:
      throw new DczError("argument", `${dtype} is no dtype of weights: ${[...FLOAT_BYTES.keys()].join(", ")}`);
  }
}
