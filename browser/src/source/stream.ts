// A source that comes in one piece: a stream, a response, or a server that gives no parts of a file.
import { DczError } from "../errors.js";
import { type Body, Forward, type Link } from "./forward.js";
import type { Source, Span } from "./source.js";

/**
 * A file that arrives from its first byte to its last. What `read` waits for stays in memory, with all before it; what
 * `pieces` gives does not. Bytes that have been let go come from a second connection, where there can be one.
 */
export class StreamSource implements Source {
  readonly sizeFrom = "server";
  readonly #first: Forward;
  readonly #others = new Set<Forward>();
  #closed: DczError | undefined;

  constructor(
    private readonly link: Link,
    readonly size: number | undefined,
    body: Body,
  ) {
    this.#first = new Forward(link, 0, body);
  }

  get name(): string {
    return this.link.name;
  }

  get heldBytes(): number {
    let sum = this.#first.heldBytes;
    for (const other of this.#others) sum += other.heldBytes;
    return sum;
  }

  async read(span: Span, signal?: AbortSignal): Promise<Uint8Array> {
    const bytes = await this.#first.take(span, true, signal);
    if (bytes !== undefined) return bytes;
    for await (const piece of this.#again([span], undefined, signal)) return piece;
    throw this.#passed(span);
  }

  async *pieces(
    spans: readonly Span[],
    end: number | undefined,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array, void> {
    for (const [i, span] of spans.entries()) {
      const bytes = await this.#first.take(span, false, signal);
      if (bytes === undefined) {
        yield* this.#again(spans.slice(i), end, signal);
        return;
      }
      yield bytes;
    }
    if (end !== undefined) await this.#first.expectEnd(end, signal);
  }

  close(reason: DczError): void {
    this.#closed = reason;
    this.#first.close(reason);
    for (const other of this.#others) other.close(reason);
  }

  /** The same by a connection of its own. */
  async *#again(
    spans: readonly Span[],
    end: number | undefined,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array, void> {
    const [start] = spans;
    if (start !== undefined && this.link.connect === undefined) throw this.#passed(start);
    if (this.#closed !== undefined) throw this.#closed;
    const forward = new Forward(this.link, start?.offset ?? 0);
    this.#others.add(forward);
    try {
      for (const span of spans) {
        const bytes = await forward.take(span, false, signal);
        if (bytes === undefined) throw this.#passed(span);
        yield bytes;
      }
      if (end !== undefined) await forward.expectEnd(end, signal);
    } finally {
      this.#others.delete(forward);
      forward.close(new DczError("aborted", `${this.name}: this pass has ended.`));
    }
  }

  #passed({ offset }: Span): DczError {
    const message = `${this.name}: comes once and has passed byte ${offset}. Open the file by its address or its bytes.`;
    return new DczError("unsupported", message);
  }
}
