// A sequence of layers: loaded from a file, checked, run.

import { createWasmBackend } from "../compute/backend.js";
import { packsOf } from "../compute/choice.js";
import { about, DczError, type DczErrorCode, spellNames, spellOf } from "../errors.js";
import { FileTensors } from "./file-tensors.js";
import type { Layer } from "./layers.js";
import { type Backend, type Operation, outputShape, product, type Step } from "./operations.js";
import type { WeightSource } from "./packed.js";

/** Where a sequence runs: "auto" is WebGPU if there is an adapter, else WebAssembly. */
export type Device = "auto" | "wasm" | "webgpu";

/** What `Sequence.load` takes. */
export interface SequenceOptions {
  /** The shape of one input, without the count. */
  readonly inputShape: readonly number[];
  /** "auto" if missing. */
  readonly device?: Device;
  /** Refuse a file with tensors that no layer takes; true by default. */
  readonly strict?: boolean;
  /** Makes the GPU's backend in place of `createGpuBackend()`, whose options it may give; undefined: no adapter. */
  readonly gpu?: () => Promise<Backend | undefined>;
  /** Is told why a sequence on "auto" goes on in WebAssembly. */
  readonly onFallback?: (reason: string) => void;
  /** Ends the loading with the error `aborted`. */
  readonly signal?: AbortSignal;
}

/** One layer of a sequence. */
export interface LayerFacts {
  readonly layer: string;
  /** Of its weight; undefined for a layer without one. */
  readonly shape: readonly number[] | undefined;
  readonly survivors: number;
  /** The code that computes it. */
  readonly kernel: string;
  /** Held in memory; of tied weights, the first layer that has them holds them. */
  readonly heldBytes: number;
  /** The size of its weight, dense in float32. */
  readonly denseBytes: number;
}

/** A layer with its operation, and what is known of its weight. */
interface Bound {
  readonly label: string;
  operation: Operation;
  readonly shape: readonly number[] | undefined;
  readonly survivors: number;
}

const CLOSED = "the sequence is closed; load it again";

const named = (number: number, label: string) => `layer ${number} (${label})`;

/** Throws DczError "argument" for what types would refuse. */
function checkArguments(file: WeightSource, layers: readonly Layer[], options: SequenceOptions): void {
  const refuse = (message: string): never => {
    throw new DczError("argument", message);
  };
  const { inputShape, device = "auto" } = options;
  if (typeof file?.slices !== "function") refuse(`a sequence needs a file that open() gave; found ${spellOf(file)}`);
  const list = 'layers are a list such as [linear("fc1"), relu()]';
  if (!Array.isArray(layers)) refuse(`${list}; found ${spellOf(layers)}`);
  const wrong = layers.find((layer) => typeof layer?.label !== "string");
  if (wrong !== undefined) refuse(`${list}; found in it ${spellOf(wrong)}`);
  if (!Array.isArray(inputShape) || !inputShape.every((length) => Number.isInteger(length) && length > 0)) {
    refuse(`inputShape is a list of integers from 1 on; found ${JSON.stringify(inputShape)}`);
  }
  if (!["auto", "wasm", "webgpu"].includes(device)) {
    refuse(`device is "auto", "webgpu" or "wasm"; found ${spellOf(device)}`);
  }
}

function bindAll(layers: readonly Layer[], tensors: FileTensors): (() => Bound)[] {
  return layers.map(({ label, bind }, i) => {
    const made = about(named(i + 1, label), () => bind(tensors));
    return () => {
      const operation = made();
      const weights = "weights" in operation ? operation.weights : undefined;
      return { label, operation, shape: weights?.shape, survivors: weights?.survivors ?? 0 };
    };
  });
}

async function gpuModule(): Promise<typeof import("../gpu/backend.js")> {
  try {
    return await import("../gpu/backend.js");
  } catch (cause) {
    throw new DczError("network", `the modules of the GPU could not be loaded: ${String(cause)}`, { cause });
  }
}

/** The GPU, loaded only where it is asked for; undefined if WebAssembly computes. */
async function gpuBackend({ device = "auto", gpu, onFallback }: SequenceOptions): Promise<Backend | undefined> {
  if (device === "wasm") return undefined;
  try {
    const backend = await (gpu ?? (await gpuModule()).createGpuBackend)();
    if (backend === undefined)
      throw new DczError("unsupported", 'there is no WebGPU adapter; device: "auto" needs none');
    return backend;
  } catch (error) {
    if (device === "webgpu" || !(error instanceof DczError)) throw error;
    onFallback?.(error.message);
    return undefined;
  }
}

/** Steps of all layers. Throws DczError "unsupported" for a layer that the backend cannot compute, and what it throws. */
async function prepareAll(backend: Backend, layers: readonly Bound[]): Promise<Step[]> {
  const steps: Step[] = [];
  for (const { label, operation } of layers) {
    const step = await backend.prepare(operation);
    if (step === undefined) throw new DczError("unsupported", `${backend.name} has no kernel for ${label}; use "wasm"`);
    steps.push(step);
  }
  return steps;
}

/** Of errors of the GPU that more or other inputs do not mend: WebAssembly goes on. */
const LASTING: readonly DczErrorCode[] = ["device-lost", "unsupported"];

/** Layers that run one after another, with the weights of a `.dcz` file, which stay compressed in memory. */
export class Sequence {
  #backend: Backend | undefined;
  #steps: readonly Step[] = [];
  #tail: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(
    private readonly layers: readonly Bound[],
    private readonly options: SequenceOptions,
  ) {}

  /**
   * Reads the weights that layers take, in one pass over the file. Before, it checks that each layer fits the one before.
   * Throws DczError: "not-found" and "argument", which name the layer, "unsupported", "memory", and what reading throws.
   */
  static async load(file: WeightSource, layers: readonly Layer[], options: SequenceOptions): Promise<Sequence> {
    checkArguments(file, layers, options ?? {});
    const { strict = true, inputShape, signal } = options;
    const gpu = await gpuBackend(options);
    try {
      const tensors = new FileTensors(file, gpu === undefined ? packsOf : () => () => true);
      const made = bindAll(layers, tensors);
      const left = tensors.left();
      if (strict && left.length > 0) {
        throw new DczError("argument", `no layer takes ${spellNames(left)}; with strict: false they are left out`);
      }
      const bind = () => made.map((make) => make());
      new Sequence(bind(), options).shape([1, ...inputShape]);
      await tensors.read(signal);
      const net = new Sequence(bind(), options);
      await net.#begin(gpu);
      return net;
    } catch (error) {
      gpu?.close();
      throw error;
    }
  }

  /** Where it runs. */
  get device(): "wasm" | "webgpu" {
    return this.#backend?.name ?? "wasm";
  }

  /** Bytes held now: in WebAssembly all memory, of weights and activations; on a GPU weights and the like. */
  get memoryBytes(): number {
    return this.#backend?.memoryBytes ?? this.#steps.reduce((sum, { heldBytes }) => sum + heldBytes, 0);
  }

  /**
   * The shape of the output for an input of a shape, count included; computes nothing. Throws a DczError "argument",
   * which names the layer, for a shape that does not fit.
   */
  shape(given: readonly number[]): number[] {
    let shape = [...given];
    this.layers.forEach(({ label, operation }, i) => {
      shape = about(named(i + 1, label), () => outputShape(operation, shape));
    });
    return shape;
  }

  /**
   * Runs all layers on a batch of inputs: `x` is the numbers of as many inputs as its length says, and stays as it is.
   * Do not change it before the result is there. The result is a new array. Calls that overlap are served one after the
   * other. Infinities and NaNs spread in WebAssembly; GPUs may take them for other numbers. Throws DczError "argument"
   * before anything is computed, "memory", and "device-lost" and "unsupported" unless the device is "auto".
   */
  async run(x: Float32Array): Promise<Float32Array> {
    const { inputShape } = this.options;
    if (this.#closed) throw new DczError("argument", CLOSED);
    if (!(x instanceof Float32Array)) throw new DczError("argument", `an input is a Float32Array; found ${spellOf(x)}`);
    const size = product(inputShape);
    if (x.length % size !== 0) {
      const expected = `a multiple of ${size}, for inputs of [${inputShape.join(", ")}]`;
      throw new DczError("argument", `an input has ${x.length} numbers, expected ${expected}`);
    }
    const shape = [x.length / size, ...inputShape];
    this.shape(shape);
    const result = this.#tail.then(() => this.#run(x, shape));
    this.#tail = result.catch(() => {});
    return result;
  }

  /** The facts of each layer. */
  explain(): LayerFacts[] {
    return this.layers.map(({ label, shape, survivors }, i) => {
      const { kernel = "", heldBytes = 0 } = this.#steps[i] ?? {};
      return { layer: label, shape, survivors, kernel, heldBytes, denseBytes: shape ? 4 * product(shape) : 0 };
    });
  }

  /** Frees memory and device, behind the calls that are under way. */
  close(): void {
    this.#closed = true;
    void this.#tail.then(() => {
      this.#backend?.close();
      this.#backend = undefined;
      this.#steps = [];
    });
  }

  async #begin(gpu: Backend | undefined): Promise<void> {
    if (gpu === undefined) return this.#goToWasm();
    try {
      this.#steps = await prepareAll(gpu, this.layers);
      this.#backend = gpu;
    } catch (error) {
      await this.#fallBack(gpu, error, [...LASTING, "memory", "size"]);
    }
  }

  /** Goes on in WebAssembly after an error of the GPU with such a code; throws it if "auto" was not asked for. */
  async #fallBack(gpu: Backend, error: unknown, codes: readonly DczErrorCode[]): Promise<void> {
    const falls = error instanceof DczError && codes.includes(error.code);
    if (!falls || this.options.device === "webgpu") throw error;
    gpu.close();
    await this.#goToWasm();
    this.options.onFallback?.(error.message);
  }

  async #goToWasm(): Promise<void> {
    const backend = await createWasmBackend();
    const steps = await prepareAll(backend, this.layers);
    this.#backend = backend;
    this.#steps = steps;
    // the backend has the weights: what stays here are shapes
    this.layers.forEach((bound, i) => {
      bound.operation = steps[i]?.operation ?? bound.operation;
    });
  }

  async #run(x: Float32Array, shape: readonly number[]): Promise<Float32Array> {
    const backend = this.#backend;
    if (backend === undefined) throw new DczError("argument", CLOSED);
    try {
      return await backend.run(this.#steps, x, shape);
    } catch (error) {
      if (backend.name === "wasm") throw error;
      await this.#fallBack(backend, error, LASTING);
      return this.#run(x, shape);
    }
  }
}
