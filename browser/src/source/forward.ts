// Reads a body of bytes forward. When the connection breaks, it goes on from the byte reached.
import { DczError } from "../errors.js";
import { abortable, checkAborted, sleep, within } from "../signals.js";
import { type Arrived, allocate, leftOver, type Span, truncated } from "./source.js";

/** The bytes of a file from `start` on, as they arrive. */
export interface Body {
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly start: number;
  /** The byte behind the last one of the body, where the server promised it. */
  readonly end: number | undefined;
}

/** Asks again for a body that holds the byte `at`, and all behind it. */
export type Connect = (at: number, signal: AbortSignal) => Promise<Body>;

/** A connection that did not come about or broke: worth another try. */
export class Broken extends DczError {
  constructor(message: string, options?: ErrorOptions) {
    super("network", message, options);
  }
}

/** The error of a connection that stays open and gives nothing. */
export function silent(name: string, milliseconds: number): Broken {
  const message = `${name}: the server was silent for ${milliseconds / 1000} s. Check the network and try again`;
  return new Broken(`${message}, or give a longer idleTimeout.`);
}

/** What all readers of one file share. */
export interface Link {
  readonly name: string;
  /** Undefined for a stream, which comes once. */
  readonly connect: Connect | undefined;
  readonly retries: number;
  readonly retryDelay: number;
  /** Milliseconds without a byte after which a connection counts as broken. */
  readonly idleTimeout: number;
  readonly arrived: Arrived;
}

/**
 * A window of bytes that moves forward over a file: what has arrived and was not let go. It takes bytes only when
 * somebody waits for them, so that a slow caller slows the server down. `head` is what the caller has of the file's
 * start.
 */
export class Forward {
  #chunks: Uint8Array[] = [];
  #start: number; // of the window, in the file
  #position: number; // behind the window
  #ended = false;
  #body: Body | undefined;
  #at = 0; // the next byte of the body, in the file
  #pulling: Promise<void> | undefined;
  readonly #quit = new AbortController();

  constructor(
    private readonly link: Link,
    start: number,
    first?: Body,
    head?: Uint8Array,
  ) {
    this.#start = this.#position = start;
    if (first !== undefined) this.#use(first);
    if (head !== undefined && head.length > start) {
      this.#chunks = [head.subarray(start)];
      this.#position = head.length;
    }
  }

  get heldBytes(): number {
    return this.#position - this.#start;
  }

  /**
   * Waits for the bytes of a span. With `keep` they stay in the window; else it lets go of them and of all before.
   * Gives undefined if it had let them go earlier.
   */
  async take({ offset, length }: Span, keep: boolean, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    checkAborted(this.#quit.signal, signal);
    const end = offset + length;
    while (this.#start <= offset) {
      if (this.#position >= end) {
        const bytes = this.#copy(offset, length);
        if (!keep) this.#letGo(end);
        return bytes;
      }
      if (!keep) this.#letGo(offset);
      if (this.#ended) throw truncated(this.link.name, this.#position, end);
      await abortable(this.#pull(), this.#quit.signal, signal);
    }
    return undefined;
  }

  /** Waits for the end of the body, which must come before more than `most` bytes. Gives all that the window holds. */
  async takeAll(most: number, signal?: AbortSignal): Promise<Uint8Array> {
    while (!this.#ended && this.#position < most) await abortable(this.#pull(), this.#quit.signal, signal);
    if (this.#position > most) throw this.#tooMany(most);
    return this.#copy(this.#start, this.heldBytes);
  }

  /** Waits for the end of the file, which must be here. */
  async expectEnd(end: number, signal?: AbortSignal): Promise<void> {
    while (!this.#ended && this.#position <= end) await abortable(this.#pull(), this.#quit.signal, signal);
    if (this.#position > end) throw leftOver(this.link.name, end);
  }

  /** Ends the connection and all that wait for it. */
  close(reason: DczError): void {
    this.#quit.abort(reason);
    this.#leave();
    this.#chunks = [];
    this.#start = this.#position;
  }

  /** Waits for the next bytes, together with all others who wait for them. */
  #pull(): Promise<void> {
    this.#pulling ??= this.#next().finally(() => {
      this.#pulling = undefined;
    });
    return this.#pulling;
  }

  async #next(): Promise<void> {
    const chunk = await this.#received();
    if (chunk === undefined) {
      this.#ended = true;
      this.#leave();
      return;
    }
    this.#chunks.push(chunk);
    this.#position += chunk.length;
    this.link.arrived(chunk.length);
  }

  /** The next bytes behind the window, if need be by another connection; undefined at the end of the body. */
  async #received(): Promise<Uint8Array | undefined> {
    const { connect, retries, retryDelay } = this.link;
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#receive();
      } catch (error) {
        this.#leave();
        checkAborted(this.#quit.signal);
        if (!(error instanceof Broken) || connect === undefined || attempt >= retries) throw error;
        await sleep(retryDelay * 2 ** attempt, this.#quit.signal);
      }
    }
  }

  /** The same by the connection that is there, or a first one. */
  async #receive(): Promise<Uint8Array | undefined> {
    const body = this.#body ?? (await this.#connect());
    for (;;) {
      const chunk = await this.#chunk(body);
      if (chunk === undefined) return undefined;
      this.#at += chunk.length;
      const fresh = this.#at - this.#position; // the others were had before the connection broke
      if (fresh > 0) return fresh < chunk.length ? chunk.subarray(chunk.length - fresh) : chunk;
    }
  }

  async #connect(): Promise<Body> {
    if (this.link.connect === undefined)
      throw new DczError("network", `${this.link.name}: broke, and comes only once.`);
    const body = await this.link.connect(this.#position, this.#quit.signal);
    if (this.#quit.signal.aborted) body.reader.cancel().catch(() => undefined);
    checkAborted(this.#quit.signal);
    this.#use(body);
    return body;
  }

  /** The next bytes of the body. The last ones come when the body has ended where the server promised. */
  async #chunk(body: Body): Promise<Uint8Array | undefined> {
    const { name } = this.link;
    const chunk = await this.#read(body);
    if (body.end === undefined) return chunk;
    const reached = this.#at + (chunk?.length ?? 0);
    const over = reached === body.end && chunk !== undefined && (await this.#read(body)) !== undefined;
    if (reached > body.end || over) throw this.#tooMany(body.end);
    if (chunk === undefined && reached < body.end) {
      const stopped = `the server promised bytes up to ${body.end} and stopped at ${reached}`;
      throw new DczError("server", `${name}: ${stopped}. Its copy may be incomplete.`);
    }
    return chunk;
  }

  #tooMany(end: number): DczError {
    const message = `${this.link.name}: the server sends bytes behind ${end}, where it promised to end.`;
    return new DczError("server", `${message} Open the file with {ranges: false}.`);
  }

  /** The next bytes of the body, not empty. A stream of the caller's may take its time. */
  async #read(body: Body): Promise<Uint8Array | undefined> {
    const { connect, idleTimeout } = this.link;
    const patience = connect === undefined ? Number.POSITIVE_INFINITY : idleTimeout;
    for (;;) {
      let result: ReadableStreamReadResult<Uint8Array>;
      try {
        result = await within(patience, body.reader.read(), () => silent(this.link.name, patience));
      } catch (cause) {
        if (cause instanceof Broken) throw cause;
        const message = `${this.link.name}: the connection broke at byte ${this.#at}. Check the network and try again.`;
        throw new Broken(message, { cause });
      }
      if (result.done) return undefined;
      if (!(result.value instanceof Uint8Array)) {
        throw new DczError("argument", `${this.link.name}: gave ${typeof result.value} instead of Uint8Array.`);
      }
      if (result.value.length > 0) return result.value;
    }
  }

  #use(body: Body): void {
    this.#body = body;
    this.#at = body.start;
  }

  #leave(): void {
    const reader = this.#body?.reader;
    this.#body = undefined;
    reader
      ?.cancel()
      .catch(() => undefined) // it broke before
      .finally(() => reader.releaseLock());
  }

  #copy(offset: number, length: number): Uint8Array {
    const end = offset + length;
    let at = this.#start;
    let bytes: Uint8Array | undefined;
    for (const chunk of this.#chunks) {
      const from = Math.max(offset - at, 0);
      const part = chunk.subarray(from, Math.max(end - at, from));
      if (part.length === length) return part;
      if (part.length > 0) {
        bytes ??= new Uint8Array(allocate(length));
        bytes.set(part, at + from - offset);
      }
      at += chunk.length;
      if (at >= end) break;
    }
    return bytes ?? new Uint8Array(0);
  }

  /** Moves the start of the window up to a byte of the file. */
  #letGo(until: number): void {
    let gone = 0;
    for (const chunk of this.#chunks) {
      if (this.#start + chunk.length > until) break;
      this.#start += chunk.length;
      gone++;
    }
    this.#chunks.splice(0, gone);
    const [first] = this.#chunks;
    if (first !== undefined && this.#start < until) {
      this.#chunks[0] = first.subarray(until - this.#start);
      this.#start = until;
    }
  }
}
