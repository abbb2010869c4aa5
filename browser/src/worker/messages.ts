// What a page and its worker say to each other.
import { DczError, type DczErrorCode } from "../errors.js";
import type { OpenOptions, Progress } from "../file/open.js";
import type { Entry, Tensor } from "../types.js";

/** The calls of a worker: what each takes, and what it gives. */
export interface Calls {
  open: { takes: { source: Sendable; options: OpenOptions }; gives: Facts };
  tensor: { takes: { name: string }; gives: Tensor };
  /** Begins a pass, and gives its number. */
  tensors: { takes: { names: readonly string[] | undefined }; gives: number };
  slices: { takes: { names: string | readonly string[] }; gives: number };
  /** The model, and the names of the files beside it that hold its data; with `external` false those are an error. */
  toOnnx: { takes: { external: boolean }; gives: { model: Uint8Array<ArrayBuffer>; external: readonly string[] } };
  toSafetensors: { takes: Record<never, never>; gives: Uint8Array<ArrayBuffer> };
  /** The next of a pass. */
  next: { takes: { pass: number }; gives: IteratorResult<Tensor | Uint8Array, void> };
}

export type Method = keyof Calls;

/** What can be sent to a worker and opened there. */
export type Sendable = string | ReadableStream<Uint8Array> | Blob | ArrayBuffer | Uint8Array;

/** What the page needs to know of the file. */
export interface Facts {
  readonly bytes: number;
  readonly metadata: ReadonlyMap<string, string>;
  readonly entries: ReadonlyMap<string, Entry>;
}

/** From the page: a call, or the end of a call or pass. */
export type Ask =
  | { [M in Method]: { readonly id: number; readonly method: M; readonly takes: Calls[M]["takes"] } }[Method]
  | { readonly end: number };

/** From the worker: the result of a call, or progress. */
export type Answer =
  | { readonly id: number; readonly gives: unknown; readonly memoryBytes: number }
  | { readonly id: number; readonly failed: Failure }
  | { readonly progress: Progress };

/** An error without its class, which does not travel. */
export interface Failure {
  readonly code: DczErrorCode | undefined;
  readonly message: string;
}

export function failure(error: unknown): Failure {
  const code = error instanceof DczError ? error.code : undefined;
  return { code, message: error instanceof Error ? error.message : String(error) };
}

export function failed({ code, message }: Failure): Error {
  return code === undefined ? new Error(message) : new DczError(code, message);
}
