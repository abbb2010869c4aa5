// What a .dcz file is read from: one interface for bytes, disks, servers and streams.
import { DczError } from "./errors.js";

/** A run of bytes of the file. */
export interface Span {
  readonly offset: number;
  readonly length: number;
}

/** A file that can be read. `truncated` is thrown where the file ends before the wanted bytes do. */
export interface Source {
  /** Where the bytes come from, for messages. */
  readonly name: string;
  /** Bytes of the file, where the source knows them before it has read them all. */
  readonly size: number | undefined;
  /** Who says `size`: a wrong one is the fault of the file, or of a server. */
  readonly sizeFrom: "file" | "server";
  /** Gives the bytes of one span. They may be asked for again. */
  read(span: Span, signal?: AbortSignal): Promise<Uint8Array>;
  /**
   * Gives the bytes of each span, in one pass. The spans ascend and do not overlap. Bytes are fetched as the caller
   * asks for them. `toEnd` checks that the file ends with the last span.
   */
  pieces(spans: readonly Span[], toEnd: boolean, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined>;
  /** Bytes of the file that are held in memory now. */
  readonly heldBytes: number;
  /** Ends all reads that are under way, and every connection. */
  close(): void;
}

/** The error of a file that ends before `end`. */
export function truncated(name: string, size: number, end: number): DczError {
  return new DczError(
    "truncated",
    `${name} ends after ${size} bytes, where ${end} are needed. The file is incomplete: copy or download it again.`,
  );
}

/** The error of bytes behind the last payload. */
export function leftOver(name: string, size: number): DczError {
  return new DczError("index", `${name} has bytes behind its last payload, which ends at byte ${size}.`);
}

/** Allocates, or says how many bytes the machine refused. */
export function allocate(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (cause) {
    throw new DczError("memory", `There is no memory for ${bytes} bytes. Close other tensors, files or pages.`, {
      cause,
    });
  }
}
