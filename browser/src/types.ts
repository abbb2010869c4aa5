// The shapes of what this package gives: entries of an index, and tensors.

/** The dtypes of docs/format.md, by their numbers. */
export const DTYPES = [
  "F64",
  "F32",
  "F16",
  "BF16",
  "F8_E4M3",
  "F8_E5M2",
  "I64",
  "I32",
  "I16",
  "I8",
  "U64",
  "U32",
  "U16",
  "U8",
  "BOOL",
  "C64",
  "C128",
  "C32",
  "F8_E8M0",
  "F8_E4M3FNUZ",
  "F8_E5M2FNUZ",
  "F6_E2M3",
  "F6_E3M2",
  "F4",
  "I4",
  "U4",
  "I2",
  "U2",
] as const;
/** The dtype of a tensor's elements. */
export type Dtype = (typeof DTYPES)[number];

/** The coders of docs/format.md, by their numbers; an alias has the coder of the tensor that it is tied to. */
export const CODERS = ["alias", "raw", "sparse", "huffman", "fast", "small", "deflate", "device"] as const;
/** How a payload is coded. */
export type Coder = (typeof CODERS)[number];

/** A tensor as the index describes it. */
export interface Entry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly coder: Coder;
  /** Bytes of the payload; 0 for a tied tensor. */
  readonly bytes: number;
  /** Bytes of the decoded tensor. */
  readonly denseBytes: number;
  /** The name of the tensor that this one is tied to. */
  readonly tiedTo?: string;
}

/** The arrays of dtypes; those that are not here have a Uint8Array of their bytes. */
interface Arrays {
  F64: Float64Array<ArrayBuffer>;
  F32: Float32Array<ArrayBuffer>;
  F16: Uint16Array<ArrayBuffer>;
  BF16: Uint16Array<ArrayBuffer>;
  I64: BigInt64Array<ArrayBuffer>;
  I32: Int32Array<ArrayBuffer>;
  I16: Int16Array<ArrayBuffer>;
  I8: Int8Array<ArrayBuffer>;
  U64: BigUint64Array<ArrayBuffer>;
  U32: Uint32Array<ArrayBuffer>;
  U16: Uint16Array<ArrayBuffer>;
  C64: Float32Array<ArrayBuffer>;
  C128: Float64Array<ArrayBuffer>;
  C32: Uint16Array<ArrayBuffer>;
}

/** The array of a dtype. */
export type ArrayOf<D extends Dtype> = D extends keyof Arrays ? Arrays[D] : Uint8Array<ArrayBuffer>;
/** The arrays that tensors come in. */
export type TypedArray = ArrayOf<Dtype>;

interface TensorOf<D extends Dtype> {
  readonly name: string;
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: ArrayOf<D>;
}

/**
 * A decoded tensor, in C order. `data` is a Float32Array for F32, a Float64Array for F64, the array of integers for
 * integers, interleaved floats for C64 and C128, Uint16Array (the bits) for F16, BF16 and C32, and Uint8Array (the
 * bytes) for all others. In TypeScript a test of `dtype` narrows its type.
 */
export type Tensor = { [D in Dtype]: TensorOf<D> }[Dtype];
