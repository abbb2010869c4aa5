// Requests to a server for a file or a part of it, and what its answers must say.
import { DczError } from "../errors.js";
import { checkAborted, onAbort, within } from "../signals.js";
import { type Body, Broken, silent } from "./forward.js";

/** How requests are made. */
export interface ServerOptions {
  readonly fetch?: typeof fetch | undefined;
  readonly headers?: HeadersInit | undefined;
  readonly credentials?: RequestCredentials | undefined;
  readonly idleTimeout?: number | undefined;
}

/** Milliseconds without a byte after which a connection counts as broken, if the caller says nothing. */
export const IDLE_MS = 30_000;

/** From the byte `start` up to before the byte `end`. */
export interface Part {
  readonly start: number;
  readonly end: number;
}

/** A file on a server. It remembers what the first answer said of the file, and holds the later ones to it. */
export class Server {
  readonly name: string;
  /** Bytes of the file, once the server has said so. */
  total: number | undefined;
  #etag: string | null = null;
  #modified: string | null = null;
  #known = false;
  #foreign = false;

  constructor(
    private readonly address: string | URL | Request,
    private readonly options: ServerOptions,
  ) {
    const url = String(address instanceof Request ? address.url : address);
    this.name = url.length > 100 ? `${url.slice(0, 97)}...` : url;
  }

  /** Asks for a part, or for the whole file. Gives answers of status 200 and 206; all others are errors. */
  async get(part?: Part, signal?: AbortSignal): Promise<Response> {
    checkAborted(signal);
    const { address, options } = this;
    const headers = new Headers(address instanceof Request ? address.headers : undefined);
    new Headers(options.headers).forEach((value, key) => {
      headers.set(key, value);
    });
    if (part !== undefined) headers.set("Range", `bytes=${part.start}-${part.end - 1}`);
    const validator = this.#etag?.startsWith('"') ? this.#etag : this.#modified;
    if (part !== undefined && validator !== null && !this.#foreign) headers.set("If-Range", validator);
    const init: RequestInit = { headers };
    if (options.credentials !== undefined) init.credentials = options.credentials;
    const quit = new AbortController();
    init.signal = quit.signal;
    const off = signal && onAbort(signal, () => quit.abort(signal.reason));
    const idle = options.idleTimeout ?? IDLE_MS;
    let response: Response;
    try {
      const answer = (options.fetch ?? fetch)(address, init);
      response = await within(idle, answer, () => silent(this.name, idle));
    } catch (cause) {
      checkAborted(signal);
      quit.abort(cause);
      if (cause instanceof Broken) throw cause;
      const why = "The address is wrong, the network is down, or this page may not (CORS, or its security policy)";
      throw new Broken(`${this.name}: could not be reached. ${why}.`, { cause });
    } finally {
      off?.();
    }
    if (response.status === 200 || response.status === 206) return response;
    response.body?.cancel().catch(() => undefined);
    throw this.#refused(response);
  }

  /** The body of an answer with the whole file. */
  whole(response: Response): Body {
    if (response.status !== 200) {
      response.body?.cancel().catch(() => undefined);
      throw new DczError("server", `${this.name}: status ${response.status} came for a request of the whole file.`);
    }
    return this.#body(response, 0, wholeBytes(response));
  }

  /** The body of an answer with a part. Throws `server` if it is another one than was asked for. */
  part(response: Response, part: Part): Body {
    const { end, total } = this.#range(response, part);
    const body = this.#body(response, part.start, total);
    return { ...body, end };
  }

  /** Asks for a part of the same file as before; a server that gives the whole of it instead is welcome, too. */
  async resume(part: Part, signal: AbortSignal): Promise<Body> {
    const response = await this.get(part, signal);
    if (response.status === 206) return this.part(response, part);
    return this.whole(response);
  }

  /** Compares an answer with the first one, and opens its body. */
  #body(response: Response, start: number, total: number | undefined): Body {
    const etag = response.headers.get("ETag");
    const modified = response.headers.get("Last-Modified");
    if (!this.#known) {
      this.#known = true;
      this.#etag = etag;
      this.#modified = modified;
      this.#foreign = response.type === "cors";
    }
    const differs = (a: unknown, b: unknown) => a !== null && b !== null && a !== b;
    const wrong =
      differs(this.#etag, etag) || (this.#etag === null && differs(this.#modified, modified))
        ? "its ETag or date is another one than before"
        : differs(this.total ?? null, total ?? null)
          ? `it had ${this.total} bytes and now has ${total}`
          : undefined;
    if (wrong !== undefined) {
      response.body?.cancel().catch(() => undefined);
      throw new DczError("server", `${this.name}: changed on the server: ${wrong}. Open it again.`);
    }
    this.total ??= total;
    const reader = (response.body ?? new Blob([]).stream()).getReader();
    return { reader, start, end: total };
  }

  /** What an answer of status 206 says that it holds. */
  #range(response: Response, { start, end }: Part): { end: number | undefined; total: number | undefined } {
    const wrong = (what: string): DczError => {
      response.body?.cancel().catch(() => undefined);
      const asked = `${this.name}: bytes ${start} to ${end - 1} were asked for, and the server answered with ${what}`;
      return new DczError("server", `${asked}. Open the file with {ranges: false}.`);
    };
    const type = response.headers.get("Content-Type") ?? "";
    if (type.startsWith("multipart/")) throw wrong("several parts");
    if (encoded(response)) throw wrong(`the content encoding ${response.headers.get("Content-Encoding")}`);
    const said = response.headers.get("Content-Range");
    if (said === null) {
      // Servers of other origins hide this header. Checksums find what is wrong then.
      if (response.type === "cors") return { end: start === 0 ? undefined : end, total: undefined };
      throw wrong("a part without Content-Range");
    }
    const found = /^bytes (\d+)-(\d+)\/(\d+|\*)$/i.exec(said.trim());
    const [first, last] = [Number(found?.[1]), Number(found?.[2])];
    const total = found?.[3] === undefined || found[3] === "*" ? undefined : Number(found[3]);
    const right = first === start && (last === end - 1 || (last < end && last + 1 === total));
    if (!right || (total !== undefined && total <= last)) throw wrong(`Content-Range: ${said}`);
    return { end: last + 1, total };
  }

  #refused(response: Response): DczError {
    const { status, statusText } = response;
    const message = `${this.name}: the server answered with status ${status}${statusText && ` ${statusText}`}`;
    if (status >= 500 || status === 408 || status === 429) return new Broken(`${message}. Try again later.`);
    if (status === 416) {
      return new DczError("server", `${message}: the file has fewer bytes than were asked for. Open it again.`);
    }
    const remedy =
      status === 401 || status === 403
        ? "open() takes headers and credentials for requests"
        : status === 0
          ? "Requests of mode no-cors hide the file; use mode cors"
          : "Check the address";
    return new DczError("network", `${message}. ${remedy}.`);
  }
}

function encoded(response: Response): boolean {
  const encoding = response.headers.get("Content-Encoding");
  return encoding !== null && encoding.toLowerCase() !== "identity";
}

/** Bytes of the file, if the answer says so. A length may count encoded bytes; other origins hide whether it does. */
function wholeBytes(response: Response): number | undefined {
  const length = response.headers.get("Content-Length");
  if (length === null || !/^\d+$/.test(length) || encoded(response) || response.type === "cors") return undefined;
  return Number(length);
}
