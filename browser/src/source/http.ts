// A file on a server that gives parts of it (HTTP ranges), or else the whole.
import { DczError } from "../errors.js";
import { type Connect, Forward, type Link } from "./forward.js";
import { IDLE_MS, Server, type ServerOptions } from "./server.js";
import type { Arrived, Source, Span } from "./source.js";
import { StreamSource } from "./stream.js";

/** Bytes of the first request: the index of most files, and the whole of small ones. */
export const HEAD_BYTES = 65536;

/** So many bytes between two spans are cheaper to receive than another request. */
const GAP_BYTES = 262144;

/** What reading from a server takes. */
export interface HttpOptions extends ServerOptions {
  readonly ranges?: boolean | undefined;
  readonly retries?: number | undefined;
  readonly retryDelay?: number | undefined;
}

/** When connections count as broken, and how often and how fast they are tried again. */
export function patience(options: HttpOptions): Pick<Link, "retries" | "retryDelay" | "idleTimeout"> {
  const { retries = 5, retryDelay = 300, idleTimeout = IDLE_MS } = options;
  return { retries, retryDelay, idleTimeout };
}

/** Asks for the first bytes, and goes on with what the server gives: parts, or the whole in this very response. */
export async function httpSource(
  address: string | URL | Request,
  options: HttpOptions,
  arrived: Arrived,
  signal?: AbortSignal,
): Promise<Source> {
  const link = { arrived, ...patience(options) };
  if (options.ranges !== false) {
    const server = new Server(address, options);
    try {
      const response = await server.get({ start: 0, end: HEAD_BYTES }, signal);
      if (response.status !== 206) return whole(server, link, response);
      return await RangeSource.begin(server, link, response, signal);
    } catch (error) {
      // A server that answers wrongly for a part may still give the whole. So does one with an empty file.
      if (!(error instanceof DczError && error.code === "server")) throw error;
    }
  }
  const server = new Server(address, options);
  return whole(server, link, await server.get(undefined, signal));
}

type Patience = Omit<Link, "connect" | "name">;

function whole(server: Server, link: Patience, response: Response): Source {
  const body = server.whole(response);
  const connect: Connect = async (_, signal) => server.whole(await server.get(undefined, signal));
  return new StreamSource({ ...link, name: server.name, connect }, body.end, body);
}

/** A file on a server that gives parts of it. The first part stays in memory. */
class RangeSource implements Source {
  readonly sizeFrom = "server";
  readonly #forwards = new Set<Forward>();
  #closed: DczError | undefined;

  /** Reads the first part. Throws `server` if it is not what was asked for. */
  static async begin(server: Server, link: Patience, response: Response, signal?: AbortSignal): Promise<RangeSource> {
    const body = server.part(response, { start: 0, end: HEAD_BYTES });
    const connect: Connect = async (at, quit) => server.resume({ start: at, end: body.end ?? HEAD_BYTES }, quit);
    const forward = new Forward({ ...link, name: server.name, connect }, 0, body);
    try {
      const head = await forward.takeAll(HEAD_BYTES, signal);
      return new RangeSource(server, link, head);
    } finally {
      forward.close(new DczError("aborted", `${server.name}: the first part was read.`));
    }
  }

  private constructor(
    private readonly server: Server,
    private readonly link: Patience,
    private readonly head: Uint8Array,
  ) {}

  get name(): string {
    return this.server.name;
  }

  get size(): number | undefined {
    return this.server.total ?? (this.head.length < HEAD_BYTES ? this.head.length : undefined);
  }

  get heldBytes(): number {
    let sum = this.head.length;
    for (const forward of this.#forwards) sum += forward.heldBytes;
    return sum;
  }

  async read(span: Span, signal?: AbortSignal): Promise<Uint8Array> {
    for await (const piece of this.pieces([span], undefined, signal)) return piece;
    throw new DczError("argument", "No bytes were asked for.");
  }

  async *pieces(spans: readonly Span[], _?: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void> {
    for (const run of runs(spans)) yield* this.#run(run, signal);
  }

  close(reason: DczError): void {
    this.#closed = reason;
    for (const forward of this.#forwards) forward.close(reason);
  }

  /** Spans that lie near each other, over one request. */
  async *#run(spans: readonly Span[], signal?: AbortSignal): AsyncGenerator<Uint8Array, void> {
    const end = spans.reduce((most, span) => Math.max(most, span.offset + span.length), 0);
    const connect: Connect = (at, quit) => this.server.resume({ start: at, end }, quit);
    const forward = new Forward(
      { ...this.link, name: this.name, connect },
      spans[0]?.offset ?? 0,
      undefined,
      this.head,
    );
    if (this.#closed !== undefined) throw this.#closed;
    this.#forwards.add(forward);
    try {
      for (const span of spans) {
        const bytes = await forward.take(span, false, signal);
        if (bytes !== undefined) yield bytes;
      }
    } finally {
      this.#forwards.delete(forward);
      forward.close(new DczError("aborted", `${this.name}: this pass has ended.`));
    }
  }
}

/** Cuts a list of spans where the bytes between two are worth a request. */
function* runs(spans: readonly Span[]): Generator<Span[]> {
  let run: Span[] = [];
  let end = 0;
  for (const span of spans) {
    if (run.length > 0 && span.offset > end + GAP_BYTES) {
      yield run;
      run = [];
    }
    run.push(span);
    end = span.offset + span.length;
  }
  if (run.length > 0) yield run;
}
