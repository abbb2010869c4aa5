// Sources that give any bytes at any time: bytes in memory, a Blob, a file on the disk.
import { DczError } from "../errors.js";
import { abortable, checkAborted } from "../signals.js";
import { builtin } from "./node.js";
import { type Arrived, allocate, type Source, type Span, truncated } from "./source.js";

/** Node reads less than 2 GiB at once. Any read may give fewer bytes than were asked for. */
const MOST_READ = 2 ** 30;

type Get = (span: Span) => Promise<Uint8Array>;

/** A file of known size, read by a function. */
class RandomSource implements Source {
  readonly sizeFrom = "file";
  readonly #quit = new AbortController();

  constructor(
    readonly name: string,
    readonly size: number,
    readonly heldBytes: number,
    private readonly get: Get,
    private readonly arrived: Arrived,
  ) {}

  async read(span: Span, signal?: AbortSignal): Promise<Uint8Array> {
    checkAborted(this.#quit.signal, signal);
    const end = span.offset + span.length;
    if (end > this.size) throw truncated(this.name, this.size, end);
    const bytes = await abortable(this.get(span), this.#quit.signal, signal);
    if (bytes.length < span.length) throw truncated(this.name, span.offset + bytes.length, end);
    this.arrived(bytes.length);
    return bytes;
  }

  async *pieces(spans: readonly Span[], _?: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void> {
    for (const span of spans) yield await this.read(span, signal);
  }

  close(reason: DczError): void {
    this.#quit.abort(reason);
  }
}

/** A file in memory. The caller must not change the bytes while the file is open. */
export function bytesSource(bytes: Uint8Array, arrived: Arrived): Source {
  const get: Get = async ({ offset, length }) => bytes.subarray(offset, offset + length);
  return new RandomSource("the file in memory", bytes.length, bytes.length, get, arrived);
}

/** A Blob or a File. */
export function blobSource(blob: Blob, arrived: Arrived): Source {
  const name = "name" in blob && typeof blob.name === "string" ? blob.name : "the Blob";
  const get: Get = async ({ offset, length }) => {
    try {
      return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
    } catch (cause) {
      const message = `${name}: cannot be read, as it has changed or is gone. Choose the file again.`;
      throw new DczError("network", message, { cause });
    }
  };
  return new RandomSource(name, blob.size, 0, get, arrived);
}

/** A file on the disk, in Node and Deno. No file stays open between reads. */
export async function diskSource(path: string | URL, arrived: Arrived): Promise<Source> {
  const name = `${path}`;
  const fs = builtin("node:fs/promises");
  if (fs === undefined) {
    throw new DczError("unsupported", `${name}: pages cannot read the disk. Give an http address or a File.`);
  }
  const reading = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof DczError) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new DczError("network", `${name}: cannot be read: ${why}. Check the path.`, { cause });
    }
  };
  const get: Get = ({ offset, length }) =>
    reading(async () => {
      const file = await fs.open(path, "r");
      try {
        const bytes = new Uint8Array(allocate(length));
        let at = 0;
        for (let read = 1; read > 0 && at < length; at += read) {
          read = (await file.read(bytes, at, Math.min(length - at, MOST_READ), offset + at)).bytesRead;
        }
        return bytes.subarray(0, at);
      } finally {
        await file.close();
      }
    });
  const { size } = await reading(() => fs.stat(path));
  return new RandomSource(name, size, 0, get, arrived);
}
