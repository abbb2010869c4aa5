// What a run does on a GPU, as data: memories and dispatches, without any device.

import { DczError } from "../errors.js";
import { type Constants, type GpuFeatures, type Kernel, type KernelName, kernel } from "./kernels.js";

/** What plans need to know of a device. */
export interface GpuTraits extends GpuFeatures {
  /** Bytes that one storage binding may have. */
  readonly bindingBytes: number;
  /** Workgroups along one axis of a dispatch. */
  readonly gridLimit: number;
}

/** Bytes on the GPU: with `data` until they are there, or scratch. A binding has 16 bytes at least. */
export class Memory {
  readonly bytes: number;
  constructor(
    bytes: number,
    public data?: ArrayBufferView<ArrayBuffer>,
  ) {
    this.bytes = Math.max(16, 4 * Math.ceil(bytes / 4));
  }

  static of(data: ArrayBufferView<ArrayBuffer>): Memory {
    return new Memory(data.byteLength, data);
  }
}

/** One kernel over a grid of workgroups. `bindings` are its storage buffers, in order; the sizes follow them. */
export interface Dispatch {
  readonly kernel: Kernel;
  readonly bindings: readonly Memory[];
  readonly sizes: Uint32Array<ArrayBuffer>;
  readonly grid: readonly [number, number];
}

/** Collects the dispatches of a run. Memories that are released serve again. */
export class Plan {
  readonly dispatches: Dispatch[] = [];
  /** All memories that hold activations and their like: not weights. */
  readonly scratch: Memory[] = [];
  readonly #released: Memory[] = [];
  readonly #kernels = new Map<string, Kernel>();

  constructor(readonly traits: GpuTraits) {}

  /** Bytes of a number of the activations. */
  get realBytes(): number {
    return this.traits.f16 ? 2 : 4;
  }

  /** Scratch for so many activations. Throws DczError "memory" where one binding cannot have them. */
  activations(count: number, bytes = this.realBytes): Memory {
    const needed = count * bytes;
    if (needed > this.traits.bindingBytes) {
      const limit = `maxStorageBufferBindingSize ${this.traits.bindingBytes}`;
      throw new DczError(
        "memory",
        `activations of ${needed} bytes exceed ${limit} of the GPU; give fewer inputs a call`,
      );
    }
    const fitting = this.#released.filter((memory) => memory.bytes >= needed).sort((a, b) => a.bytes - b.bytes)[0];
    if (fitting !== undefined) {
      this.#released.splice(this.#released.indexOf(fitting), 1);
      return fitting;
    }
    const memory = new Memory(needed);
    this.scratch.push(memory);
    return memory;
  }

  /** Small numbers that belong to this plan, such as offsets. */
  numbers(data: Uint32Array<ArrayBuffer>): Memory {
    const memory = Memory.of(data);
    this.scratch.push(memory);
    return memory;
  }

  /** Says that no later dispatch reads a memory of `activations`. */
  release(memory: Memory): void {
    this.#released.push(memory);
  }

  kernel(name: KernelName, constants: Constants = {}, types?: Readonly<Record<string, "f32" | "f16">>): Kernel {
    const key = JSON.stringify([name, constants, types]);
    const found = this.#kernels.get(key) ?? kernel(name, this.traits, constants, types);
    this.#kernels.set(key, found);
    return found;
  }

  /** Adds a dispatch of so many workgroups; `sizes` gives every member of the kernel's `struct Sizes`. */
  dispatch(kernel: Kernel, bindings: readonly Memory[], sizes: Readonly<Record<string, number>>, workgroups: number) {
    if (workgroups === 0) return;
    const values = kernel.sizes.map((name) => {
      const value = sizes[name];
      if (value === undefined || value > 0xffffffff) {
        throw new DczError("size", `${kernel.name}: ${name} is ${value}, beyond the numbers of a GPU`);
      }
      return value;
    });
    const lines = Math.ceil(workgroups / this.traits.gridLimit);
    this.dispatches.push({
      kernel,
      bindings,
      sizes: Uint32Array.from(values),
      grid: [Math.ceil(workgroups / lines), lines],
    });
  }
}
