// A GPU device: memories placed on it, pipelines, runs; and every way in which it fails, as a DczError.

import { DczError } from "../errors.js";
import type { Dispatch, Memory } from "./plan.js";
import type { Run } from "./steps.js";
import { type GpuTime, timeRounds } from "./timing.js";

/** A run whose pipelines are compiled and whose memories are on the device. */
interface Ready {
  readonly run: Run;
  readonly passes: readonly Pass[];
  readonly buffers: readonly GPUBuffer[];
  /** Where results are read from. */
  readonly results: GPUBuffer;
}

interface Pass {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly grid: readonly [number, number];
}

// GPUBufferUsage, and GPUMapMode.READ, by the numbers of the standard.
const MAP_READ = 0x01;
const COPY_SRC = 0x04;
const COPY_DST = 0x08;
const UNIFORM = 0x40;
const STORAGE = 0x80;

// Sizes of dispatches lie in one buffer, each at a multiple of minUniformBufferOffsetAlignment's largest value.
const UNIFORM_BYTES = 256;

// Of each device, by their shaders: several holders of a device compile a shader once.
const PIPELINES = new WeakMap<GPUDevice, Map<string, Promise<GPUComputePipeline>>>();

/** Owns what it puts on a device, and the device itself if `own`. */
export class GpuHolder {
  /** Resolves with the reason when the device goes away by itself. */
  readonly lost: Promise<string>;
  readonly #buffers = new Map<Memory, GPUBuffer>();
  readonly #pipelines: Map<string, Promise<GPUComputePipeline>>;
  readonly #waiting = new Set<(error: DczError) => void>();
  #gone: DczError | undefined;

  constructor(
    readonly device: GPUDevice,
    readonly own: boolean,
  ) {
    this.#pipelines = PIPELINES.get(device) ?? new Map();
    PIPELINES.set(device, this.#pipelines);
    this.lost = new Promise((resolve) => {
      device.lost.then(({ message, reason }) => {
        const why = message || reason;
        this.#end(new DczError("device-lost", `the GPU went away (${why}); load the layers again, or run on "wasm"`));
        if (this.#gone?.code === "device-lost") resolve(why);
      });
    });
  }

  /** Destroys every buffer, and an own device; what is under way is rejected. */
  close(): void {
    this.#end(new DczError("aborted", "the backend was closed"));
    for (const buffer of this.#buffers.values()) buffer.destroy();
    this.#buffers.clear();
    if (this.own) this.device.destroy();
  }

  /** Puts memories with data on the device, and makes others. */
  async place(memories: readonly Memory[]): Promise<void> {
    const fresh = memories.filter((memory) => !this.#buffers.has(memory));
    const bytes = fresh.reduce((sum, memory) => sum + memory.bytes, 0);
    await this.#checked(`${bytes} bytes for weights and activations`, () => {
      for (const memory of fresh) this.#buffer(memory);
    }).catch((error: unknown) => {
      this.free(fresh);
      throw error;
    });
    // from now on it is on the GPU only
    for (const memory of fresh) delete memory.data;
  }

  free(memories: readonly Memory[]): void {
    for (const memory of memories) {
      this.#buffers.get(memory)?.destroy();
      this.#buffers.delete(memory);
    }
  }

  /** Compiles and places what a run needs. */
  async ready(run: Run): Promise<Ready> {
    const { dispatches, scratch } = run.plan;
    const pipelines = await this.#orLost(Promise.all(dispatches.map((dispatch) => this.#pipeline(dispatch))));
    await this.place(scratch);
    return this.#checked("a run's parameters", () => this.#bind(run, pipelines)).catch((error: unknown) => {
      this.free(scratch);
      throw error;
    });
  }

  /** Frees what `ready` made. */
  release(ready: Ready): void {
    for (const buffer of ready.buffers) buffer.destroy();
    this.free(ready.run.plan.scratch);
  }

  /** One submission, one wait: `x` in, `count` results out. */
  async run(ready: Ready, x: Float32Array, count: number): Promise<Float32Array> {
    const { run, results } = ready;
    await this.#checked("a run", () => {
      const { device } = this;
      // a view of shared memory is none that a GPU takes
      device.queue.writeBuffer(this.#buffer(run.input), 0, Float32Array.from(x));
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      this.encode(ready, pass);
      pass.end();
      encoder.copyBufferToBuffer(this.#buffer(run.output), 0, results, 0, run.output.bytes);
      device.queue.submit([encoder.finish()]);
    });
    await this.#orLost(results.mapAsync(MAP_READ));
    const y = new Float32Array(results.getMappedRange(0, 4 * count).slice(0));
    results.unmap();
    return y;
  }

  /** Writes the dispatches of a run into a pass. */
  encode({ passes }: Ready, pass: GPUComputePassEncoder): void {
    for (const { pipeline, group, grid } of passes) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(...grid);
    }
  }

  /** Times the kernels of a run, on whatever its input is now. */
  time(ready: Ready, rounds: number): Promise<GpuTime> {
    return this.#orLost(timeRounds(this.device, (pass) => this.encode(ready, pass), rounds));
  }

  #bind(run: Run, pipelines: readonly GPUComputePipeline[]): Ready {
    const { device } = this;
    const { dispatches } = run.plan;
    const results = device.createBuffer({
      size: run.output.bytes,
      usage: MAP_READ | COPY_DST,
    });
    const sizes = new Uint32Array((Math.max(1, dispatches.length) * UNIFORM_BYTES) / 4);
    dispatches.forEach((dispatch, i) => {
      sizes.set(dispatch.sizes, (i * UNIFORM_BYTES) / 4);
    });
    const uniform = device.createBuffer({
      size: sizes.byteLength,
      usage: UNIFORM | COPY_DST,
    });
    device.queue.writeBuffer(uniform, 0, sizes);
    const passes = dispatches.map(({ bindings, grid }, i) => {
      const pipeline = pipelines[i] as GPUComputePipeline;
      const resources: GPUBindingResource[] = bindings.map((memory) => ({ buffer: this.#buffer(memory) }));
      resources.push({ buffer: uniform, offset: i * UNIFORM_BYTES, size: UNIFORM_BYTES });
      const entries = resources.map((resource, binding) => ({ binding, resource }));
      const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
      return { pipeline, group, grid };
    });
    return { run, passes, buffers: [results, uniform], results };
  }

  #buffer(memory: Memory): GPUBuffer {
    let buffer = this.#buffers.get(memory);
    if (buffer === undefined) {
      const usage = STORAGE | COPY_SRC | COPY_DST;
      buffer = this.device.createBuffer({ size: memory.bytes, usage });
      this.#buffers.set(memory, buffer);
      if (memory.data !== undefined) this.#write(buffer, memory.data);
    }
    return buffer;
  }

  #write(buffer: GPUBuffer, data: ArrayBufferView<ArrayBuffer>): void {
    const whole = data.byteLength - (data.byteLength % 4);
    this.device.queue.writeBuffer(buffer, 0, data.buffer, data.byteOffset, whole);
    if (whole === data.byteLength) return;
    const last = new Uint8Array(4);
    last.set(new Uint8Array(data.buffer, data.byteOffset + whole, data.byteLength - whole));
    this.device.queue.writeBuffer(buffer, whole, last);
  }

  #pipeline({ kernel }: Dispatch): Promise<GPUComputePipeline> {
    let pipeline = this.#pipelines.get(kernel.code);
    if (pipeline === undefined) {
      const module = this.device.createShaderModule({ code: kernel.code, label: kernel.name });
      pipeline = this.device
        .createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" }, label: kernel.name })
        .catch((cause: unknown) => {
          throw new DczError("unsupported", `the GPU's driver refuses the shader ${kernel.name}: ${cause}`, { cause });
        });
      this.#pipelines.set(kernel.code, pipeline);
    }
    return pipeline;
  }

  /** Does work that the device answers at once and checks later. */
  async #checked<T>(what: string, work: () => T): Promise<T> {
    if (this.#gone !== undefined) throw this.#gone;
    const { device } = this;
    for (const filter of ["validation", "out-of-memory", "internal"] as const) device.pushErrorScope(filter);
    let result: T;
    let errors: Promise<(GPUError | null)[]>;
    try {
      result = work();
    } finally {
      errors = Promise.all([device.popErrorScope(), device.popErrorScope(), device.popErrorScope()]);
    }
    const [internal, memory, validation] = await this.#orLost(errors);
    if (memory) throw new DczError("memory", `the GPU has no memory for ${what}: ${memory.message}`);
    const wrong = internal ?? validation;
    if (wrong) throw new DczError("unsupported", `the GPU refuses ${what}: ${wrong.message}`);
    return result;
  }

  /** A promise of the device, rejected as soon as the device is gone. */
  #orLost<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#gone !== undefined) reject(this.#gone);
      this.#waiting.add(reject);
      const done = () => this.#waiting.delete(reject);
      promise.then(
        (value) => {
          done();
          resolve(value);
        },
        (error: unknown) => {
          done();
          // Promises of a device that goes away may be rejected before `lost` says so.
          const gone = new DczError("device-lost", `the GPU gave no result: ${error}`, { cause: error });
          reject(error instanceof DczError ? error : (this.#gone ?? gone));
        },
      );
    });
  }

  #end(error: DczError): void {
    this.#gone ??= error;
    for (const reject of this.#waiting) reject(this.#gone);
    this.#waiting.clear();
  }
}
