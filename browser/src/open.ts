// open(): from an address, a response, a stream or bytes to an open file.
import type { DczFile } from "./file.js";

/** How much of the file has arrived. */
export interface Progress {
  /** Bytes that have arrived so far. */
  readonly loaded: number;
  /** Bytes of the whole file; undefined until the index is there. */
  readonly total: number | undefined;
}

/** What `open` takes. */
export interface OpenOptions {
  /** Ends the opening, and later every call of the file, with the error `aborted`. */
  readonly signal?: AbortSignal | undefined;
  /** Is called as bytes arrive. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** The function for requests, in the place of the global one. */
  readonly fetch?: typeof fetch | undefined;
  /** Ask the server for parts of the file; true if missing. With false the whole file comes in one request. */
  readonly ranges?: boolean | undefined;
  /** How often in a row a broken connection is tried again without a new byte; 5 if missing. */
  readonly retries?: number | undefined;
  /** Milliseconds before the first retry; each further one in a row waits twice as long. 300 if missing. */
  readonly retryDelay?: number | undefined;
  /** Headers of every request. */
  readonly headers?: HeadersInit | undefined;
  /** As for fetch. */
  readonly credentials?: RequestCredentials | undefined;
}

/** What `open` opens. */
export type DczSource =
  | string
  | URL
  | Request
  | Response
  | ReadableStream<Uint8Array>
  | Blob
  | ArrayBuffer
  | Uint8Array;

/** Opens a .dcz file: reads and checks its index. */
export declare function open(source: DczSource, options?: OpenOptions): Promise<DczFile>;
