// Decodes tensors one at a time in WebAssembly: every coder of docs/format.md, from payloads to dense bytes.

import { DczError, type DczErrorCode } from "../errors.js";
import { CODERS, DTYPES } from "../types.js";
import { compiled } from "../wasm.js";
import { type Index, indexBytes, type Located, readIndex, rowsOf } from "./file-index.js";
import { DecodeInstance, type Flaw, SLICE_BYTES } from "./instance.js";

export type { Index, Located } from "./file-index.js";

/** Tensors that decode to as many bytes are too large for C with numbers of 32 bits; those of `raw` are not decoded. */
const MOST_DENSE_BYTES = 2 ** 32 - 1;

/** Some numbers of `dcz_error` in device/dcz.h; all others mean a wrong payload. */
const CODES: Readonly<Record<number, DczErrorCode>> = { 3: "version", 8: "version", 11: "size" };

/**
 * A decoder with memory of its own: in it lie one payload, the work buffer of its coder, and a slice of dense bytes,
 * never a whole tensor. It takes the payload's bytes, what docs/format.md says under "All coders on a device", and
 * less than 500 kB. It does one thing at a time: `index` and `decode` end the decoding that was under way.
 */
export class Decoder {
  private instance: DecodeInstance;
  private turn = 0;

  /** A new decoder. Throws a DczError: "unsupported" without WebAssembly, "network" if decode.wasm cannot be had. */
  static async create(): Promise<Decoder> {
    return new Decoder(await compiled(new URL("../decode.wasm", import.meta.url)));
  }

  /**
   * How many bytes from the start of a file hold everything up to the checksum of the index; undefined if more bytes
   * are needed to tell, never more than 14. Throws a DczError for a wrong magic or version, at once.
   */
  static indexBytes(head: Uint8Array): number | undefined {
    return indexBytes(head);
  }

  private constructor(private readonly module: WebAssembly.Module) {
    this.instance = new DecodeInstance(module);
  }

  /** Bytes of WebAssembly's memory now. It cannot shrink: a new instance begins when it is far larger than needed. */
  get memoryBytes(): number {
    return this.instance.memoryBytes;
  }

  /**
   * Reads the index of a file, and checks everything in it. `head` has the bytes that `indexBytes` counts. Whether the
   * file has `size` bytes is left to the caller. Throws a DczError: "magic", "version", "truncated", "checksum",
   * "index", or "size" for what only the Python package reads.
   */
  index(head: Uint8Array): Index {
    this.turn += 1;
    return readIndex(head, (bytes) => this.instance.checksum(bytes));
  }

  /**
   * The dense bytes of a tensor, in C order and little-endian, in slices of whole rows or of 64 KiB. A slice is valid
   * until the next step. Length and checksum are tested before the first one. What else is wrong is found with the
   * last one at the latest, so slices mean nothing before all have come. Throws a DczError: "truncated", "checksum",
   * "payload", "version", "size", "memory", or "argument" for a tied tensor.
   */
  *decode(entry: Located, payload: Uint8Array): Generator<Uint8Array, void, undefined> {
    this.turn += 1;
    const { turn } = this;
    const { name, bytes } = entry;
    const quoted = JSON.stringify(name);
    if (entry.tiedTo !== undefined) {
      throw new DczError("argument", `${quoted} is tied to ${JSON.stringify(entry.tiedTo)}. Decode that one.`);
    }
    if (payload.length !== bytes) {
      const found = `${payload.length} bytes were given, its payload has ${bytes}`;
      throw new DczError("truncated", `${quoted} is incomplete: ${found}. Load the file again.`);
    }
    const slices = entry.coder === "raw" ? this.pass(entry, payload) : this.slices(entry, payload);
    for (const slice of slices) {
      yield slice;
      if (turn !== this.turn) {
        throw new DczError("argument", `Another tensor was begun before ${quoted} was complete. Use two decoders.`);
      }
    }
  }

  /** "raw: the elements". They need no memory. */
  private *pass(entry: Located, payload: Uint8Array): Generator<Uint8Array, void, undefined> {
    this.compare(entry, this.instance.checksum(payload));
    if (payload.length !== entry.denseBytes) throw this.refused(entry, 9);
    // a Buffer of Node would give Buffers, whose slice() does not copy
    const bytes = new Uint8Array(payload.buffer, payload.byteOffset, payload.length);
    for (let at = 0; at < bytes.length; at += SLICE_BYTES) yield bytes.subarray(at, at + SLICE_BYTES);
  }

  private *slices(entry: Located, payload: Uint8Array): Generator<Uint8Array, void, undefined> {
    const { shape, rows, cols, size } = rowsOf(entry);
    if (entry.denseBytes > MOST_DENSE_BYTES) throw this.refused(entry, 11);
    this.renew(entry);
    this.compare(entry, this.instance.put(payload));
    const request = { coder: CODERS.indexOf(entry.coder), dtype: DTYPES.indexOf(entry.dtype), size, rows, cols, shape };
    this.settle(entry, () => this.instance.begin(request, payload.length));
    const most = SLICE_BYTES / size;
    const some = cols > 0 && cols <= most ? Math.floor(most / cols) * cols : most;
    for (let left = rows * cols; left > 0; left -= some) {
      const count = Math.min(left, some);
      this.settle(entry, () => this.instance.next(count));
      yield this.instance.sliced(count * size);
    }
  }

  private compare(entry: Located, checksum: number): void {
    if (checksum === entry.checksum) return;
    const what = `${JSON.stringify(entry.name)} is damaged: the checksum of its payload differs`;
    throw new DczError("checksum", `${what}. Load the file again.`);
  }

  /** Runs a step of the instance. A trap, which no file should cause, costs the instance. */
  private settle(entry: Located, step: () => Flaw): void {
    let flaw: Flaw;
    try {
      flaw = step();
    } catch (cause) {
      if (cause instanceof DczError) throw cause;
      this.instance = new DecodeInstance(this.module);
      throw new DczError("payload", `${JSON.stringify(entry.name)} stopped the decoder: ${String(cause)}.`, { cause });
    }
    if (flaw !== 0) throw this.refused(entry, flaw);
  }

  private refused(entry: Located, flaw: Flaw): DczError {
    const code = CODES[flaw] ?? "payload";
    const name = JSON.stringify(entry.name);
    if (code === "size") {
      const limit = `${entry.denseBytes} bytes, more than this package decodes`;
      return new DczError(code, `${name} is too large: ${limit}. Use the Python package.`);
    }
    return new DczError(code, `the payload of ${name} is wrong (coder ${entry.coder}, flaw ${flaw}). Ask its writer.`);
  }

  /** A new instance if the memory is more than twice what this tensor needs. */
  private renew(entry: Located): void {
    const needed = this.instance.ownBytes + entry.bytes + entry.denseBytes / 8 + 2 ** 20;
    if (this.memoryBytes > 2 * needed) this.instance = new DecodeInstance(this.module);
  }
}
