// Loads modules of WebAssembly: each is fetched and compiled once, however many instances it has.

import { DczError } from "./errors.js";

/** The bytes that each module begins with; a server's page for wrong addresses has others. */
const MAGIC = [0x00, 0x61, 0x73, 0x6d];

const modules = new Map<string, Promise<WebAssembly.Module>>();

/** The module at `url`. Throws a DczError: "unsupported" without WebAssembly, "network" if the file cannot be had. */
export function compiled(url: URL): Promise<WebAssembly.Module> {
  const known = modules.get(url.href);
  if (known !== undefined) return known;
  const made = compile(url);
  modules.set(url.href, made);
  made.catch(() => modules.delete(url.href)); // so that a later call tries again
  return made;
}

/** The exports of a new instance of a module. Throws a DczError "memory" if the browser has no room for one more. */
export function instantiate(module: WebAssembly.Module): WebAssembly.Exports {
  try {
    return new WebAssembly.Instance(module).exports;
  } catch (cause) {
    const remedy = "Close files and sequences that are no longer needed";
    throw new DczError("memory", `There is no room for one more WebAssembly memory: ${String(cause)}. ${remedy}.`, {
      cause,
    });
  }
}

async function compile(url: URL): Promise<WebAssembly.Module> {
  if (typeof WebAssembly !== "object") {
    throw new DczError("unsupported", "This browser has no WebAssembly. Some have a setting that switches it off.");
  }
  const bytes = await bytesOf(url);
  try {
    return await WebAssembly.compile(bytes);
  } catch (cause) {
    const remedy = "It needs SIMD, and a content security policy with script-src 'wasm-unsafe-eval'";
    throw new DczError("unsupported", `The browser refuses ${url.href}: ${String(cause)}. ${remedy}.`, { cause });
  }
}

async function bytesOf(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  try {
    if (url.protocol === "file:" && "process" in globalThis) {
      const name = "node:fs/promises"; // a variable, so that bundlers for browsers do not look for it
      const fs: { readFile(url: URL): Promise<Uint8Array<ArrayBuffer>> } = await import(/* @vite-ignore */ name);
      return await fs.readFile(url);
    }
    const response = await fetch(url);
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (MAGIC.some((byte, i) => bytes[i] !== byte)) throw new Error("what came is no WebAssembly");
    return bytes;
  } catch (cause) {
    const remedy = "Serve the package's .wasm files beside its modules; Vite needs optimizeDeps.exclude for it";
    throw new DczError("network", `Cannot read ${url.href}: ${String(cause)}. ${remedy}.`, { cause });
  }
}
