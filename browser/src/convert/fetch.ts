// A fetch for libraries that load models by their addresses: it gives them a model that came as a .dcz file.

import { DczError } from "../errors.js";
import type { DczFile } from "../file/file.js";
import { type OpenOptions, open } from "../file/open.js";
import { abortable, abortError } from "../signals.js";
import type { Composed } from "./composed.js";
import { composedOnnx, holdsGraph } from "./onnx.js";
import { composedSafetensors } from "./safetensors.js";

/** Address of a model -> address of its `.dcz` file; undefined for what is to be fetched as it is. */
export type DczRule = (url: string) => string | URL | undefined;

/** A model that is open for the requests that a library makes of it. */
class Model {
  private users = 0;
  private last = false;

  private constructor(
    private readonly file: DczFile,
    readonly composed: Composed,
  ) {}

  static async at(source: string | URL, options: OpenOptions): Promise<Model> {
    const file = await open(source, options);
    try {
      return new Model(file, holdsGraph(file) ? await composedOnnx(file) : composedSafetensors(file));
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /**
   * The bytes from one offset to another as a stream, each piece made when it is asked for. As with `fetch`, the signal
   * also ends a stream that nobody reads.
   */
  stream(from: number, to: number, signal: AbortSignal | undefined): ReadableStream<Uint8Array<ArrayBuffer>> {
    const ended = new AbortController();
    const pieces = this.composed.pieces(from, to, ended.signal);
    let onAbort: (() => void) | undefined;
    this.users += 1;
    // the first of all that may end a stream, and no later one, gives up its place among the users
    const end = (reason?: DczError): void => {
      if (ended.signal.aborted) return;
      ended.abort(reason);
      pieces.return(undefined).catch(() => undefined); // ends its request, too
      if (onAbort !== undefined) signal?.removeEventListener("abort", onAbort);
      this.leave();
    };
    return new ReadableStream(
      {
        start: (controller) => {
          onAbort = () => {
            const reason = abortError(signal);
            end(reason);
            controller.error(reason);
          };
          if (signal?.aborted) onAbort();
          else signal?.addEventListener("abort", onAbort);
        },
        pull: async (controller) => {
          try {
            const { value, done } = await pieces.next();
            if (ended.signal.aborted) return;
            if (done) {
              end();
              controller.close();
            } else {
              controller.enqueue(value);
            }
          } catch (error) {
            end();
            controller.error(error);
          }
        },
        cancel: () => end(),
      },
      { highWaterMark: 0 },
    );
  }

  /** Closes the file once nobody reads it. */
  end(): void {
    this.last = true;
    if (this.users === 0) {
      this.file.close();
    }
  }

  private leave(): void {
    this.users -= 1;
    if (this.last) {
      this.end();
    }
  }
}

/**
 * A function to put in the place of `fetch`. Where the rule gives the address of a `.dcz` file for an address, a GET is
 * answered with the decoded model: the ONNX model if the file holds one, else a safetensors file. It comes as a stream,
 * decoded as the library reads it, with its length; one range is answered, and so is HEAD. All else goes to `fetch`.
 *
 *     env.fetch = dczFetch((url) => (url.endsWith("/model.onnx") ? url.replace(/onnx$/, "dcz") : undefined));
 *
 * `options` are those of `open`. What `open` and the converters throw rejects the request, or ends the stream: a
 * DczError. A file that was opened for HEAD or a range stays open for the GET that follows.
 */
export function dczFetch(rule: DczRule, options: OpenOptions = {}): typeof fetch {
  const held = new Map<string, Promise<Model>>();
  return async (input, init) => {
    const method = (init?.method ?? (input instanceof Request ? input.method : "GET")).toUpperCase();
    const url = input instanceof Request ? input.url : String(input);
    const source = method === "GET" || method === "HEAD" ? rule(url) : undefined;
    if (source === undefined) {
      return (options.fetch ?? fetch)(input, init);
    }
    const key = String(source);
    const opened = held.get(key) ?? Model.at(source, options);
    held.set(key, opened);
    const release = (): void => {
      if (held.get(key) === opened) {
        held.delete(key);
      }
    };
    opened.catch(release);
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined);
    const model = await abortable(opened, signal);
    const { bytes } = model.composed;
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
    const range = rangeOf(headers.get("range"), bytes);
    const [from, to] = range ?? [0, bytes];
    const body = method === "HEAD" ? null : model.stream(from, to, signal);
    if (method === "GET" && range === undefined) {
      release();
      model.end();
    }
    return new Response(body, {
      status: range === undefined ? 200 : 206,
      headers: {
        "Content-Type": "application/octet-stream",
        "Content-Length": String(to - from),
        "Accept-Ranges": "bytes",
        ...(range === undefined ? {} : { "Content-Range": `bytes ${from}-${to - 1}/${bytes}` }),
      },
    });
  };
}

/** The first byte that a header asks for, and the end; undefined if it asks for all. Throws DczError "argument". */
function rangeOf(header: string | null, bytes: number): [number, number] | undefined {
  const found = /^bytes=(\d+)-(\d*)$/.exec(header ?? "");
  if (found === null) {
    return undefined;
  }
  const from = Number(found[1]);
  const to = Math.min(found[2] === "" ? bytes : Number(found[2]) + 1, bytes);
  if (from >= to) {
    throw new DczError("argument", `the range ${header} is not in the model, which takes ${bytes} bytes`);
  }
  return [from, to];
}
