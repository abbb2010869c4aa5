// An open .dcz file: its entries, and its tensors as they are asked for.
import type { Entry, Tensor } from "./types.js";

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
   * Bytes that this file holds now: the decoder's WebAssembly memory, and bytes of the file that a stream has given.
   * Tensors that were given out are the caller's, and are not in it.
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
  /** Gives the elements of one tensor, little-endian, piece by piece. The caller owns each piece. */
  slices(name: string, options?: TensorOptions): AsyncIterable<Uint8Array>;
  /** Ends all calls that are under way, and frees memory and connections. */
  close(): void;
}
