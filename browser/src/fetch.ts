// A fetch for libraries that load models by their addresses: it gives them a model that came as a .dcz file.

import type { Composed } from "./composed.js";
import { DczError } from "./errors.js";
import type { DczFile } from "./file.js";
import { composedOnnx, holdsGraph } from "./onnx.js";
import { type OpenOptions, open } from "./open.js";
import { composedSafetensors } from "./safetensors.js";

/** Address of a model -> address of its `.dcz` file; undefined for what is to be fetched as it is. */
export type DczRule = (url: string) => string | URL | undefined;

/** A model that is open for the requests that a library makes of it. */
interface Model {
  readonly file: DczFile;
  readonly composed: Composed;
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
    const model = held.get(key) ?? modelAt(source, options);
    held.set(key, model);
    try {
      const { file, composed } = await model;
      const range = rangeOf(input, init, composed.bytes);
      const whole = method === "GET" && range === undefined;
      if (whole) {
        held.delete(key);
      }
      const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined);
      const [from, to] = range ?? [0, composed.bytes];
      const body = method === "HEAD" ? null : streamOf(composed.pieces(from, to, signal), whole ? file : undefined);
      return new Response(body, {
        status: range === undefined ? 200 : 206,
        headers: {
          "Content-Type": "application/octet-stream",
          "Content-Length": String(to - from),
          "Accept-Ranges": "bytes",
          ...(range === undefined ? {} : { "Content-Range": `bytes ${from}-${to - 1}/${composed.bytes}` }),
        },
      });
    } catch (error) {
      held.delete(key);
      throw error;
    }
  };
}

async function modelAt(source: string | URL, options: OpenOptions): Promise<Model> {
  const file = await open(source, options);
  try {
    return { file, composed: holdsGraph(file) ? await composedOnnx(file) : composedSafetensors(file) };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** The first byte that a request asks for, and the end; undefined if it asks for all. Throws DczError "argument". */
function rangeOf(input: RequestInfo | URL, init: RequestInit | undefined, bytes: number): [number, number] | undefined {
  const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
  const found = /^bytes=(\d+)-(\d*)$/.exec(headers.get("range") ?? "");
  if (found === null) {
    return undefined;
  }
  const from = Number(found[1]);
  const to = Math.min(found[2] === "" ? bytes : Number(found[2]) + 1, bytes);
  if (from >= to) {
    throw new DczError("argument", `the range ${headers.get("range")} is not in the model, which takes ${bytes} bytes`);
  }
  return [from, to];
}

/** The pieces as a stream, each made when it is asked for; `file` is closed behind the last one. */
function streamOf(
  pieces: AsyncGenerator<Uint8Array<ArrayBuffer>>,
  file?: DczFile,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          const { value, done } = await pieces.next();
          if (done) {
            file?.close();
            controller.close();
          } else {
            controller.enqueue(value);
          }
        } catch (error) {
          file?.close();
          controller.error(error);
        }
      },
      async cancel() {
        await pieces.return(undefined);
        file?.close();
      },
    },
    { highWaterMark: 0 },
  );
}
