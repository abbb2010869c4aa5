// The array of JavaScript for each dtype.
import type { Dtype, TypedArray } from "../types.js";

type Kind = new (buffer: ArrayBuffer) => TypedArray;

const KINDS: Partial<Record<Dtype, Kind>> = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U64: BigUint64Array,
  U32: Uint32Array,
  U16: Uint16Array,
  C64: Float32Array,
  C128: Float64Array,
  C32: Uint16Array,
};

/** The elements in `buffer`, little-endian, as types.ts says under `Tensor`. */
export function typedArray(dtype: Dtype, buffer: ArrayBuffer): TypedArray {
  return new (KINDS[dtype] ?? Uint8Array)(buffer);
}
