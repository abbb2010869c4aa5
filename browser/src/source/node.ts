// The modules of Node that this package uses where they are: in Node, Deno and Bun.

/** The parts that are used, typed here so that pages need no types of Node. */
interface Builtins {
  "node:fs/promises": {
    open(path: string | URL, flags: string): Promise<FileHandle>;
    stat(path: string | URL): Promise<{ size: number }>;
  };
  "node:worker_threads": {
    parentPort: MessagePort | null;
    Worker: new (url: URL) => NodeWorker;
  };
}

interface FileHandle {
  read(buffer: Uint8Array<ArrayBuffer>, at: number, length: number, position: number): Promise<{ bytesRead: number }>;
  close(): Promise<void>;
}

/** A thread of Node. */
export interface NodeWorker {
  on(event: "message" | "error" | "messageerror" | "exit", listener: (value: unknown) => void): void;
  postMessage(message: unknown, transfer: Transferable[]): void;
  terminate(): Promise<number>;
}

interface Process {
  getBuiltinModule?(name: string): unknown;
}

/** A module of Node, or undefined elsewhere. Bundlers see no import, so that pages are not given one. */
export function builtin<Name extends keyof Builtins>(name: Name): Builtins[Name] | undefined {
  const process: Process | undefined = (globalThis as { process?: Process }).process;
  return process?.getBuiltinModule?.(name) as Builtins[Name] | undefined;
}
