// openInWorker(): the page's side of a file that is open in a worker.

import type { ToOnnxOptions } from "../convert/onnx.js";
import { DczError } from "../errors.js";
import type { DczFile, TensorOptions, TensorsOptions } from "../file/file.js";
import { checkSource, type DczSource, type OpenOptions, type Progress, pageAddress } from "../file/open.js";
import { wantedOf } from "../file/opened.js";
import { abortable, abortError, checkAborted } from "../signals.js";
import type { Entry, Tensor } from "../types.js";
import { type Answer, type Ask, type Calls, type Facts, failed, type Method, type Sendable } from "./messages.js";
import { startThread, type Thread } from "./thread.js";

/** A file that is open in a worker. Tensors are moved to the page, not copied. `close` ends the worker. */
export type WorkerFile = DczFile;

/**
 * Opens a file as `open` does, in a worker of its own, so that the page stays free while it decodes. Bytes in memory
 * are copied over; a Blob is not. A stream moves there where the browser can do it, and else is `unsupported`. The
 * option `fetch` is not there. Throws `unsupported` without workers, or if the page forbids this one.
 */
export async function openInWorker(source: DczSource, options: OpenOptions = {}): Promise<WorkerFile> {
  const { signal, onProgress, fetch, headers, ...others } = options;
  checkAborted(signal);
  if (fetch !== undefined) throw new DczError("argument", "A worker cannot call the page's fetch. Use open() with it.");
  checkSource(source);
  const sendable = sent(source);
  const talk = new Talk(startThread(), onProgress);
  const onAbort = (): void => talk.close(abortError(signal));
  signal?.addEventListener("abort", onAbort);
  talk.onClose = () => signal?.removeEventListener("abort", onAbort);
  try {
    const plain = headers === undefined ? others : { ...others, headers: [...new Headers(headers)] };
    const facts = await talk.ask("open", { source: sendable, options: plain }, undefined, transferred(sendable));
    return new InWorker(talk, facts);
  } catch (error) {
    talk.close(new DczError("aborted", "The file could not be opened."));
    throw error;
  }
}

/** What of a source can be sent. Addresses are those of the page; of an array of bytes, no more than its part goes. */
function sent(source: DczSource): Sendable {
  if (source instanceof URL) return source.href;
  if (source instanceof Uint8Array) return new Uint8Array(source);
  if (typeof source === "string") {
    const base = pageAddress();
    return base === undefined ? source : new URL(source, base).href;
  }
  if (source instanceof Request) {
    const message =
      "A Request cannot be sent to a worker. Give openInWorker() its address, with headers and credentials";
    throw new DczError("argument", `${message} as options.`);
  }
  return source instanceof Response ? (source.body ?? new Blob([])) : source;
}

function transferred(source: Sendable): Transferable[] {
  if (source instanceof Uint8Array) return [source.buffer as ArrayBuffer];
  return source instanceof ReadableStream ? [source] : [];
}

/** Calls under way between a page and its worker. */
class Talk {
  memoryBytes = 0;
  onClose: () => void = () => undefined;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  #closed: DczError | undefined;
  #id = 0;

  constructor(
    private readonly thread: Thread,
    onProgress: ((progress: Progress) => void) | undefined,
  ) {
    thread.listen(
      (answer: Answer) => {
        if ("progress" in answer) return onProgress?.(answer.progress);
        const call = this.#waiting.get(answer.id);
        this.#waiting.delete(answer.id);
        if ("failed" in answer) return call?.reject(failed(answer.failed));
        this.memoryBytes = answer.memoryBytes;
        call?.resolve(answer.gives);
      },
      (error) => this.close(error),
    );
  }

  async ask<M extends Method>(
    method: M,
    takes: Calls[M]["takes"],
    signal?: AbortSignal,
    transfer: Transferable[] = [],
  ): Promise<Calls[M]["gives"]> {
    checkAborted(signal);
    if (this.#closed !== undefined) throw this.#closed;
    this.#id += 1;
    const id = this.#id;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    try {
      this.thread.post({ id, method, takes } as Ask, transfer);
      return (await abortable(answer, signal)) as Calls[M]["gives"];
    } catch (error) {
      if (this.#waiting.delete(id)) this.end(id);
      throw error;
    }
  }

  /** Ends a call or a pass. */
  end(id: number): void {
    if (this.#closed === undefined) this.thread.post({ end: id }, []);
  }

  close(reason: DczError): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    this.thread.end();
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
    this.onClose();
  }
}

class InWorker implements DczFile {
  readonly bytes: number;
  readonly metadata: ReadonlyMap<string, string>;
  readonly entries: ReadonlyMap<string, Entry>;

  constructor(
    private readonly talk: Talk,
    facts: Facts,
  ) {
    this.bytes = facts.bytes;
    this.metadata = facts.metadata;
    this.entries = facts.entries;
  }

  get memoryBytes(): number {
    return this.talk.memoryBytes;
  }

  tensor(name: string, { signal }: TensorOptions = {}): Promise<Tensor> {
    return this.talk.ask("tensor", { name }, signal);
  }

  async *tensors(options: TensorsOptions = {}): AsyncGenerator<Tensor, void> {
    const { signal } = options;
    const wanted = wantedOf(options);
    const pass = await this.talk.ask("tensors", { names: wanted && [...wanted] }, signal);
    for await (const value of this.#pass(pass, signal)) if ("data" in value) yield value;
  }

  async *slices(names: string | readonly string[], { signal }: TensorOptions = {}): AsyncGenerator<Uint8Array, void> {
    const pass = await this.talk.ask("slices", { names }, signal);
    for await (const value of this.#pass(pass, signal)) if (value instanceof Uint8Array) yield value;
  }

  async toOnnx({ signal, onExternal }: ToOnnxOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    const { model, external } = await this.talk.ask("toOnnx", { external: onExternal !== undefined }, signal);
    for (const location of external) onExternal?.(location);
    return model;
  }

  toSafetensors({ signal }: TensorOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return this.talk.ask("toSafetensors", {}, signal);
  }

  close(): void {
    this.talk.close(new DczError("aborted", "The file was closed."));
  }

  async *#pass(pass: number, signal?: AbortSignal): AsyncGenerator<Tensor | Uint8Array, void> {
    try {
      for (;;) {
        const { done, value } = await this.talk.ask("next", { pass }, signal);
        if (done || value === undefined) return;
        yield value;
      }
    } finally {
      this.talk.end(pass);
    }
  }
}
