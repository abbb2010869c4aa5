// Numbers and texts of an index, from front to back. Comments in quotes are docs/format.md.

import { DczError } from "../errors.js";

const TEXT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes from `at` to `end`. Every method throws a DczError "index" that names the place, and reads nothing behind. */
export class Cursor {
  constructor(
    private readonly bytes: Uint8Array,
    public at: number,
    private readonly end: number,
  ) {}

  /** The error that says what is wrong just before this place. */
  refused(what: string): DczError {
    return new DczError(
      "index",
      `the index of the file is wrong before byte ${this.at}: ${what}. Load the file again.`,
    );
  }

  get left(): number {
    return this.end - this.at;
  }

  byte(): number {
    const value = this.at < this.end ? this.bytes[this.at] : undefined;
    if (value === undefined) throw this.refused("it ends too early");
    this.at += 1;
    return value;
  }

  /** A `varint`: "at most nine bytes (values below 2^63) and no needless ones". Exact below 2^53, else rounded. */
  number(): number {
    let value = 0;
    for (let place = 1; ; place *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * place;
      if (byte < 0x80) {
        if (byte === 0 && place > 1) throw this.refused("a number has a needless byte");
        return value;
      }
      if (place === 2 ** 56) throw this.refused("a number has more than nine bytes");
    }
  }

  /** A number that says how many bytes follow. */
  length(): number {
    const length = this.number();
    if (length > this.left) throw this.refused(`${length} bytes should follow, but ${this.left} are left`);
    return length;
  }

  take(length: number): Uint8Array {
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  /** A `u32`. */
  fixed32(): number {
    const low = this.byte() | (this.byte() << 8) | (this.byte() << 16);
    return low + this.byte() * 2 ** 24;
  }

  /** UTF-8; `what` is named where it is not. */
  text(bytes: Uint8Array, what: string): string {
    try {
      return TEXT.decode(bytes);
    } catch {
      throw this.refused(`${what} is not UTF-8`);
    }
  }
}
