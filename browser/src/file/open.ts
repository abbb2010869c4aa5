// open(): from an address, a response, a stream or bytes to an open file.
import { Decoder, type Index } from "../decode/decoder.js";
import { about, DczError, spellOf } from "../errors.js";
import { abortable, abortError, checkAborted } from "../signals.js";
import { type HttpOptions, httpSource, patience } from "../source/http.js";
import { builtin } from "../source/node.js";
import { blobSource, bytesSource, diskSource } from "../source/random.js";
import { type Arrived, leftOver, type Source, truncated } from "../source/source.js";
import { StreamSource } from "../source/stream.js";
import type { DczFile } from "./file.js";
import { Opened } from "./opened.js";

/** How much of the file has arrived. */
export interface Progress {
  /** Bytes that have arrived so far; bytes that came twice count twice, up to `total`. */
  readonly loaded: number;
  /** Bytes of the whole file; undefined until the index is there. */
  readonly total: number | undefined;
}

/** What `open` takes. */
export interface OpenOptions extends HttpOptions {
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
  /** Milliseconds without a byte of an address after which its connection counts as broken; 30,000 if missing. */
  readonly idleTimeout?: number | undefined;
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

/**
 * Opens a .dcz file: reads and checks its index, and no more. An address is asked for its first 65,536 bytes. A server
 * that gives parts of files is later asked for those that are wanted. From one that does not, the same response goes
 * on. In Node and Deno a string without scheme is a path. Throws a DczError: `magic`, `version`, `truncated`,
 * `checksum`, `index`, `size`, `network`, `server`, `unsupported`, `argument`, `aborted`.
 */
export async function open(from: DczSource, options: OpenOptions = {}): Promise<DczFile> {
  const { onProgress } = options;
  checkSource(from);
  const signal = options.signal ?? (from instanceof Request ? from.signal : undefined);
  checkAborted(signal);
  let loaded = 0;
  let total: number | undefined;
  const arrived: Arrived = (bytes) => {
    loaded += bytes;
    onProgress?.({ loaded: Math.min(loaded, total ?? loaded), total });
  };
  const decoding = Decoder.create();
  decoding.catch(() => undefined); // it is awaited below
  const source = await sourceOf(from, { ...options, signal }, arrived);
  let target: { close(reason: DczError): void } = source;
  const onAbort = (): void => target.close(abortError(signal));
  const onClose = (): void => signal?.removeEventListener("abort", onAbort);
  signal?.addEventListener("abort", onAbort);
  try {
    checkAborted(signal);
    const decoder = await abortable(decoding, signal);
    const index = await readIndex(source, decoder, signal);
    total = index.size;
    onProgress?.({ loaded: Math.min(loaded, total), total });
    const file = new Opened(source, index, decoder, onClose);
    target = file;
    return file;
  } catch (error) {
    onClose();
    source.close(new DczError("aborted", `${source.name}: could not be opened.`));
    throw error;
  }
}

async function readIndex(source: Source, decoder: Decoder, signal: AbortSignal | undefined): Promise<Index> {
  let bytes: number | undefined;
  for (let tried = 6; bytes === undefined; tried++) {
    const head = await source.read({ offset: 0, length: tried }, signal);
    bytes = about(source.name, () => Decoder.indexBytes(head));
  }
  const head = await source.read({ offset: 0, length: bytes }, signal);
  const index = about(source.name, () => decoder.index(head));
  if (source.size === undefined || source.size === index.size) return index;
  if (source.sizeFrom === "server") {
    const message = `${source.name}: the server says ${source.size} bytes, and the index says ${index.size}`;
    throw new DczError("server", `${message}. Its copy may be incomplete, or another file.`);
  }
  throw source.size < index.size ? truncated(source.name, source.size, index.size) : leftOver(source.name, index.size);
}

/** Throws what is wrong with a source before anything is read of it. */
export function checkSource(source: DczSource): void {
  const kinds = [URL, Request, Response, ReadableStream, Blob, ArrayBuffer, Uint8Array];
  if (typeof source !== "string" && !kinds.some((kind) => source instanceof kind)) {
    const message = "A file comes from an address, a Request, a Response, a stream, a Blob or bytes";
    throw new DczError("argument", `${message}; found ${spellOf(source)}.`);
  }
  if (source instanceof Request && source.method !== "GET") {
    throw new DczError("argument", `A Request must be a GET to be opened, and this is a ${source.method}.`);
  }
  if (source instanceof Response && source.status !== 200) {
    const message = `${source.url || "the response"}: has status ${source.status}, and 200 is needed`;
    throw new DczError("network", `${message}. Give open() the address itself, or check response.ok.`);
  }
  const stream = source instanceof Response ? source.body : source;
  if (stream instanceof ReadableStream && stream.locked) {
    const name = source instanceof Response ? source.url || "the response" : "the stream";
    throw new DczError("argument", `${name}: somebody else reads it. Give open() a clone, or the address.`);
  }
}

async function sourceOf(source: DczSource, options: OpenOptions, arrived: Arrived): Promise<Source> {
  if (source instanceof ArrayBuffer) return bytesSource(new Uint8Array(source), arrived);
  if (source instanceof Uint8Array) return bytesSource(source, arrived);
  if (source instanceof Blob) return blobSource(source, arrived);
  if (source instanceof Response) {
    return streamSource(source.body ?? new Blob([]).stream(), source.url || "the response", options, arrived);
  }
  if (source instanceof ReadableStream) return streamSource(source, "the stream", options, arrived);
  if (source instanceof Request) return httpSource(source, options, arrived, options.signal);
  const path = pathOf(source);
  return path === undefined ? httpSource(source, options, arrived, options.signal) : diskSource(path, arrived);
}

function streamSource(
  stream: ReadableStream<Uint8Array>,
  name: string,
  options: OpenOptions,
  arrived: Arrived,
): Source {
  const link = { name, connect: undefined, arrived, ...patience(options) };
  return new StreamSource(link, undefined, { reader: stream.getReader(), start: 0, end: undefined });
}

/** What addresses are relative to; undefined in Node and Deno, where they are paths. */
export function pageAddress(): string | undefined {
  if (globalThis.document !== undefined) return document.baseURI;
  return builtin("node:fs/promises") === undefined ? globalThis.location?.href : undefined;
}

/** The path of a file on the disk, or undefined for what fetch takes. */
function pathOf(source: string | URL): string | URL | undefined {
  if (source instanceof URL) return source.protocol === "file:" ? source : undefined;
  if (/^file:/i.test(source)) return new URL(source);
  const scheme = /^[a-z][a-z0-9+.-]+:/i.test(source);
  return scheme || pageAddress() !== undefined ? undefined : source;
}
