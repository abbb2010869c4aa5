// The worker's side of openInWorker: one open file, and calls by messages.
import { DczError } from "../errors.js";
import type { DczFile } from "../file/file.js";
import { open } from "../file/open.js";
import { builtin } from "../source/node.js";
import type { Tensor } from "../types.js";
import { type Answer, type Ask, type Calls, failure, type Method } from "./messages.js";

interface Port {
  postMessage(message: Answer, transfer: Transferable[]): void;
  onmessage: ((event: MessageEvent<Ask>) => void) | null;
}

const threads = "WorkerGlobalScope" in globalThis ? undefined : builtin("node:worker_threads");
const port = (threads?.parentPort ?? globalThis) as unknown as Port;

/** What is under way, by the number of its message. */
const ends = new Map<number, AbortController>();
const passes = new Map<number, AsyncIterator<Tensor | Uint8Array, void>>();
let file: DczFile | undefined;

port.onmessage = ({ data }) => {
  if ("end" in data) {
    ends.get(data.end)?.abort();
    ends.delete(data.end);
    passes
      .get(data.end)
      ?.return?.()
      .catch(() => undefined); // the page has left
    passes.delete(data.end);
  } else {
    void answer(data);
  }
};

async function answer(ask: Exclude<Ask, { end: number }>): Promise<void> {
  const { id } = ask;
  const end = new AbortController();
  ends.set(id, end);
  try {
    const gives = await run(ask, end.signal);
    port.postMessage({ id, gives, memoryBytes: file?.memoryBytes ?? 0 }, buffers(gives));
  } catch (error) {
    port.postMessage({ id, failed: failure(error) }, []);
  } finally {
    if (!passes.has(id)) ends.delete(id);
  }
}

type Gives = Calls[Method]["gives"];

async function run(ask: Exclude<Ask, { end: number }>, signal: AbortSignal): Promise<Gives> {
  if (ask.method === "open") {
    const onProgress: NonNullable<typeof ask.takes.options.onProgress> = (progress) =>
      port.postMessage({ progress }, []);
    file = await open(ask.takes.source, { ...ask.takes.options, onProgress });
    return { bytes: file.bytes, metadata: file.metadata, entries: file.entries };
  }
  if (file === undefined) throw new DczError("argument", "No file is open in this worker.");
  switch (ask.method) {
    case "tensor":
      return file.tensor(ask.takes.name, { signal });
    case "tensors":
      passes.set(ask.id, file.tensors({ names: ask.takes.names, signal })[Symbol.asyncIterator]());
      return ask.id;
    case "slices":
      passes.set(ask.id, file.slices(ask.takes.names, { signal })[Symbol.asyncIterator]());
      return ask.id;
    case "toOnnx": {
      const external: string[] = [];
      const onExternal = (location: string): void => void external.push(location);
      return { model: await file.toOnnx({ signal, ...(ask.takes.external ? { onExternal } : {}) }), external };
    }
    case "toSafetensors":
      return file.toSafetensors({ signal });
    case "next":
      return (await passes.get(ask.takes.pass)?.next()) ?? { done: true, value: undefined };
  }
}

/** The memory that moves to the page instead of being copied. */
function buffers(gives: Gives): Transferable[] {
  if (typeof gives === "number") return [];
  if ("model" in gives) return [gives.model.buffer];
  const value = "done" in gives ? gives.value : gives;
  if (value instanceof Uint8Array) return [value.buffer];
  return value !== undefined && "data" in value ? [value.data.buffer] : [];
}
