// One instance of decode.wasm: its memory, and its functions as wasm/decode.c describes them.

import { DczError } from "../errors.js";
import { instantiate } from "../wasm.js";

/** Of a slice of dense bytes: SLICE_BYTES of wasm/decode.c. */
export const SLICE_BYTES = 65536;
const PAGE_BYTES = 65536;

/** Of the request in wasm/decode.c: all its fields, each of 4 bytes; and where the size of the work buffer comes back. */
const FIELDS = 42;
const WORK_BYTES = 9;

/** A tensor as wasm/decode.c takes it; numbers of coders and dtypes are those of docs/format.md. */
export interface Request {
  readonly coder: number;
  readonly dtype: number;
  /** Bytes of an element. */
  readonly size: number;
  readonly rows: number;
  readonly cols: number;
  readonly shape: readonly number[];
}

interface Functions {
  readonly memory: WebAssembly.Memory;
  address_of_request(): number;
  address_of_slice(): number;
  address_of_heap(): number;
  crc(start: number, bytes: number, length: number): number;
  measure(): number;
  begin(): number;
  next(count: number): number;
}

/** A number of `dcz_error`; 0 for none. */
export type Flaw = number;

export class DecodeInstance {
  private readonly functions: Functions;
  private readonly slice: number;
  private readonly heap: number;

  constructor(module: WebAssembly.Module) {
    this.functions = instantiate(module) as unknown as Functions;
    this.slice = this.functions.address_of_slice() >>> 0;
    this.heap = (this.functions.address_of_heap() + 15) & ~15;
  }

  get memoryBytes(): number {
    return this.functions.memory.buffer.byteLength;
  }

  /** Bytes that the instance takes without any payload. */
  get ownBytes(): number {
    return this.heap;
  }

  /** The CRC-32 of bytes, which pass through the slice. */
  checksum(bytes: Uint8Array): number {
    let crc = 0;
    for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
      const part = bytes.subarray(at, at + SLICE_BYTES);
      this.view(this.slice, part.length).set(part);
      crc = this.functions.crc(crc, this.slice, part.length);
    }
    return crc >>> 0;
  }

  /** Takes a payload over, and gives its CRC-32. Throws a DczError "memory" if there is none. */
  put(payload: Uint8Array): number {
    this.reserve(this.heap + payload.length);
    this.view(this.heap, payload.length).set(payload);
    return this.functions.crc(0, this.heap, payload.length) >>> 0;
  }

  /** Begins to decode the payload, of `length` bytes, that `put` took over. Throws a DczError "memory" as it does. */
  begin(request: Request, length: number): Flaw {
    const { coder, dtype, size, rows, cols, shape } = request;
    const work = Math.ceil((this.heap + length) / 16) * 16;
    const fields = new Uint32Array(this.functions.memory.buffer, this.functions.address_of_request() >>> 0, FIELDS);
    fields.set([coder, dtype, shape.length, size, rows, cols, this.heap, length, work, 0, ...shape]);
    const flaw = this.functions.measure();
    if (flaw !== 0) return flaw;
    this.reserve(work + (fields[WORK_BYTES] ?? 0));
    return this.functions.begin();
  }

  /** Decodes the next `count` elements into the slice. */
  next(count: number): Flaw {
    return this.functions.next(count);
  }

  /** The first bytes of the slice, as long as the memory does not grow. */
  sliced(bytes: number): Uint8Array {
    return this.view(this.slice, bytes);
  }

  private view(address: number, length: number): Uint8Array {
    return new Uint8Array(this.functions.memory.buffer, address, length);
  }

  private reserve(bytes: number): void {
    const pages = Math.ceil((bytes - this.memoryBytes) / PAGE_BYTES);
    if (pages <= 0) return;
    try {
      this.functions.memory.grow(pages);
    } catch (cause) {
      const remedy = "Close other pages, or use a device with more memory";
      throw new DczError("memory", `The decoder needs ${bytes} bytes of memory and gets none. ${remedy}.`, { cause });
    }
  }
}
