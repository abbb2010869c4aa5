// An open .dcz file: its entries, and its tensors as they are asked for.
import type { ToOnnxOptions } from "../convert/onnx.js";
import type { Entry, Tensor } from "../types.js";

/** What a call about one tensor takes. */
export interface TensorOptions {
  /** Ends the call with the error `aborted`. */
  readonly signal?: AbortSignal | undefined;
}

/** What a pass over a file takes. */
export interface TensorsOptions extends TensorOptions {
  /** The names that are wanted; all of them if this is missing. */
  readonly names?: Iterable<string> | undefined;
}

/** A .dcz file, as `open` and `openInWorker` give it. */
export interface DczFile {
  /** Bytes of the whole file. */
  readonly bytes: number;
  readonly metadata: ReadonlyMap<string, string>;
  /** The tensors by their names, in the order of the file. */
  readonly entries: ReadonlyMap<string, Entry>;
  /**
   * Bytes that this file holds now: WebAssembly memory, and bytes of the file that have arrived. WebAssembly takes one
   * payload, the work buffer of its coder and less than 400 kB. Tensors that were given out are the caller's, and are
   * not in it. A file in a worker says what it held after the last call.
   */
  readonly memoryBytes: number;
  /**
   * Gives one tensor, in an array of its own. Calls are served one after the other. A tied name gives the tensor that
   * it is tied to, under its own name. Throws `not-found`, `network`, `server`, `checksum`, `payload`, `memory`.
   */
  tensor(name: string, options?: TensorOptions): Promise<Tensor>;
  /**
   * Gives tensors in the order of the file, each as soon as its bytes are there, over one request. A tied tensor
   * follows the one that it is tied to. One payload and one tensor are in memory at a time.
   */
  tensors(options?: TensorsOptions): AsyncIterable<Tensor>;
  /**
   * Gives the elements of one tensor, little-endian, piece by piece; of several, one tensor after the other in the
   * order of the file, over one request. No piece has elements of two tensors. The caller owns each piece.
   */
  slices(names: string | readonly string[], options?: TensorOptions): AsyncIterable<Uint8Array>;
  /**
   * Gives the ONNX model that the file was made of, with its tensors decoded: what `dcz decompress` writes. The memory
   * is that of the model, allocated once, and twice that of one payload. Throws `unsupported` for a file of no ONNX
   * model and for data in files beside the model, `size` beyond 2 GB, `payload` for a graph that does not fit the
   * tensors, `memory`, and what `tensor` throws.
   */
  toOnnx(options?: ToOnnxOptions): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * Gives all tensors as a safetensors file: what `dcz decompress` writes. Tied tensors are written in full, for
   * safetensors has no ties; C128 and C32 as pairs of floats. The memory is that of the safetensors file, allocated
   * once, and twice that of one payload. Throws `unsupported` for dtypes that safetensors does not have and for ONNX
   * models, `memory`, and what `tensor` throws.
   */
  toSafetensors(options?: TensorOptions): Promise<Uint8Array<ArrayBuffer>>;
  /** Ends all calls that are under way, and frees memory and connections. */
  close(): void;
}
