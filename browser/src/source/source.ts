// What a .dcz file is read from: one interface for bytes, disks, servers and streams.
import { DczError } from "../errors.js";

/** A run of bytes of the file. */
export interface Span {
  readonly offset: number;
  readonly length: number;
}

/** A file that can be read. A source throws `truncated` where the file ends before the wanted bytes do. */
export interface Source {
  /** Where the bytes come from, for messages. */
  readonly name: string;
  /** Bytes of the file, where the source knows them before it has read them all. */
  readonly size: number | undefined;
  /** Who says `size`. A wrong size is a fault of the file, or of what a server says. */
  readonly sizeFrom: "file" | "server";
  /** Bytes of the file that are held in memory now. */
  readonly heldBytes: number;
  /** Gives the bytes of one span. The same span can be read again. */
  read(span: Span, signal?: AbortSignal): Promise<Uint8Array>;
  /**
   * Gives the bytes of each span, in one pass. The spans ascend and do not overlap. Bytes come as the caller asks for
   * them. A source that does not know its size then checks that the file ends at `end`.
   */
  pieces(spans: readonly Span[], end?: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined>;
  /** Ends all reads that are under way, and every connection. Later reads throw `reason`. */
  close(reason: DczError): void;
}

/** Is told how many bytes have arrived, each time some do. */
export type Arrived = (bytes: number) => void;

/** The error of a file that ends before `end`. */
export function truncated(name: string, size: number, end: number): DczError {
  return new DczError(
    "truncated",
    `${name}: ends after ${size} bytes, but ${end} are needed. It is incomplete: copy or download it again.`,
  );
}

/** The error of bytes behind the last payload. */
export function leftOver(name: string, size: number): DczError {
  return new DczError("index", `${name}: has more bytes than the ${size} that its index describes.`);
}

/** Allocates, or throws `memory` with the bytes that the machine refused, and a remedy. */
export function allocate(bytes: number, remedy = "Free some memory, or take the tensor by slices()"): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (cause) {
    throw new DczError("memory", `There is no memory for ${bytes} bytes in one piece. ${remedy}.`, { cause });
  }
}
