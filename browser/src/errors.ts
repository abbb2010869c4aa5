// The one error class of this package, with a code that programs can test, and words for its messages.

/** What went wrong. */
export type DczErrorCode =
  | "magic" // not a .dcz file
  | "version" // a format version, dtype or coder that this package does not know
  | "truncated" // the file ends too early
  | "checksum" // damaged bytes
  | "index" // the index contradicts docs/format.md
  | "payload" // a payload contradicts docs/format.md
  | "size" // larger than this package or the machine can hold
  | "memory" // the browser gave no memory
  | "not-found" // no such tensor
  | "network" // the server could not be reached, or the connection broke and did not resume
  | "server" // the server lies about ranges or lengths, or the file changed on it
  | "unsupported" // no WebAssembly, no WebGPU, or an operation that this file does not allow
  | "device-lost" // the GPU went away
  | "argument" // a wrong argument of the caller
  | "aborted"; // the caller's signal

/** What a wrong argument is, for messages; a promise comes with its remedy. */
export function spellOf(value: unknown): string {
  if (value instanceof Promise) return "a Promise: await it first";
  if (typeof value === "function") return `the function ${value.name}: call it first`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? String(value);
  return Array.isArray(value) ? "an array" : (value.constructor?.name ?? "an object");
}

/** Every error that this package throws by itself. `message` names what, where and how to go on. */
export class DczError extends Error {
  override readonly name = "DczError";
  constructor(
    readonly code: DczErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Does something; an error of this package then names the place. */
export function about<T>(place: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof DczError)) throw error;
    throw new DczError(error.code, `${place}: ${error.message}`, { cause: error });
  }
}

/** The first names of a file, for messages. */
export function spellNames(all: Iterable<string>): string {
  const names = [...all];
  const more = names.length > 10 ? ` and ${names.length - 10} more` : "";
  return names.length > 0 ? names.slice(0, 10).join(", ") + more : "none: it is empty";
}
