// The backend that runs on a GPU, by WebGPU.

import { DczError } from "../errors.js";
import { type Backend, type Operation, outputShape, product, type Step } from "../network/operations.js";
import { GpuHolder } from "./device.js";
import type { GpuTraits } from "./plan.js";
import { type Matrices, makeStep } from "./prepare.js";
import { type GpuStep, planRun } from "./steps.js";
import type { GpuTime } from "./timing.js";

/** What `createGpuBackend` takes. */
export interface GpuOptions {
  readonly powerPreference?: GPUPowerPreference;
  /** A device of the caller's, which `close` leaves alone; without it, one of its own. */
  readonly device?: GPUDevice;
  /** "float16" halves the memory of activations and dense weights, where the GPU has it; sums stay float32. */
  readonly activations?: "float32" | "float16";
  /** Whether to use subgroups where the GPU has them; yes by default. */
  readonly subgroups?: boolean;
}

// What the kernels need: within the default limits of WebGPU, which all adapters but those of compatibility mode have.
const NEEDED = {
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 8,
  maxComputeWorkgroupStorageSize: 16384,
} as const;

function checkLimits(limits: GPUSupportedLimits): void {
  for (const [name, needed] of Object.entries(NEEDED)) {
    const found = limits[name as keyof typeof NEEDED];
    if (found < needed)
      throw new DczError("unsupported", `the GPU's ${name} is ${found}, needed is ${needed}; use "wasm"`);
  }
}

/** A device with all memory and features of the adapter; undefined without WebGPU or an adapter. */
async function ownDevice(options: GpuOptions): Promise<GPUDevice | undefined> {
  const gpu: GPU | undefined = globalThis.navigator?.gpu;
  const { powerPreference } = options;
  const adapter = await gpu
    ?.requestAdapter(powerPreference === undefined ? {} : { powerPreference })
    .catch((cause: unknown) => {
      throw new DczError("unsupported", `the browser gives no GPU: ${cause}; use "wasm"`, { cause });
    });
  if (!adapter) return undefined;
  checkLimits(adapter.limits);
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
  const wanted = ["shader-f16", "subgroups", "timestamp-query"] as const;
  try {
    return await adapter.requestDevice({
      requiredFeatures: wanted.filter((feature) => adapter.features.has(feature)),
      requiredLimits: { maxStorageBufferBindingSize, maxBufferSize },
    });
  } catch (cause) {
    throw new DczError("unsupported", `the GPU's adapter gives no device: ${cause}; use "wasm"`, { cause });
  }
}

/**
 * A backend on the GPU; undefined without WebGPU or an adapter. Throws DczError "unsupported" for an adapter whose
 * limits are below those that WebGPU promises.
 */
export async function createGpuBackend(options: GpuOptions = {}): Promise<GpuBackend | undefined> {
  const device = options.device ?? (await ownDevice(options));
  if (device === undefined) return undefined;
  checkLimits(device.limits);
  const traits = {
    f16: options.activations === "float16" && device.features.has("shader-f16"),
    subgroups: options.subgroups !== false && device.features.has("subgroups"),
    bindingBytes: Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize),
    gridLimit: device.limits.maxComputeWorkgroupsPerDimension,
  };
  return new GpuBackend(device, options.device === undefined, traits);
}

/** Holds weights on a GPU and runs steps there; activations stay there between steps. */
export class GpuBackend implements Backend {
  readonly name = "webgpu";
  readonly lost: Promise<string>;
  readonly #holder: GpuHolder;
  // tied weights are held once
  readonly #matrices: Matrices = new WeakMap();
  // the last run's, for the next one of the same shape
  #last: { steps: readonly Step[]; shape: string; ready: Awaited<ReturnType<GpuHolder["ready"]>> } | undefined;

  constructor(
    device: GPUDevice,
    own: boolean,
    readonly traits: GpuTraits,
  ) {
    this.#holder = new GpuHolder(device, own);
    this.lost = this.#holder.lost;
  }

  get device(): GPUDevice {
    return this.#holder.device;
  }

  async prepare(operation: Operation): Promise<GpuStep> {
    const step = makeStep(operation, this.traits, this.#matrices);
    await this.#holder.place(step.memories);
    return step;
  }

  async run(steps: readonly GpuStep[], x: Float32Array, shape: readonly number[]): Promise<Float32Array> {
    const after = steps.reduce<readonly number[]>((given, { operation }) => outputShape(operation, given), shape);
    if (product(after) === 0) return new Float32Array(0);
    return this.#holder.run(await this.#ready(steps, shape), x, product(after));
  }

  /** Times the kernels of a run on an input of zeros, `rounds` times in a row, without sending and fetching. */
  async time(steps: readonly GpuStep[], shape: readonly number[], rounds: number): Promise<GpuTime> {
    return this.#holder.time(await this.#ready(steps, shape), rounds);
  }

  async #ready(steps: readonly GpuStep[], shape: readonly number[]) {
    const key = shape.join();
    if (this.#last?.steps === steps && this.#last.shape === key) return this.#last.ready;
    if (this.#last !== undefined) this.#holder.release(this.#last.ready);
    this.#last = undefined;
    const ready = await this.#holder.ready(planRun(steps, shape, this.traits));
    this.#last = { steps, shape: key, ready };
    return ready;
  }

  close(): void {
    if (this.#last !== undefined) this.#holder.release(this.#last.ready);
    this.#last = undefined;
    this.#holder.close();
  }
}
