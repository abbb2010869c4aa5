// The kernels in WGSL: which parts and constants each one is put together from.

import { DczError } from "../errors.js";
import * as parts from "./shaders.js";

/** What an adapter has, or is wanted to use. */
export interface GpuFeatures {
  /** Activations and dense weights are f16; sums stay f32. */
  readonly f16: boolean;
  readonly subgroups: boolean;
}

/** Constants of a shader, of type u32. */
export type Constants = Readonly<Record<string, number>>;

/** A shader and the names of its parameters, the members of its `struct Sizes`, in order. */
export interface Kernel {
  readonly name: string;
  readonly code: string;
  readonly sizes: readonly string[];
}

// The parts of each kernel, in any order but with its own last; one for each of its variants.
const SCAN = { plain: parts.scan, subgroups: parts.scan_subgroups };
const REDUCE = { plain: parts.reduce, subgroups: parts.reduce_subgroups };
const { common, activate, entries, pixels } = parts;
const KERNELS = {
  packed_rows_one: { body: [common, activate, entries, parts.bundle_one, parts.packed_rows] },
  packed_rows_four: { body: [common, activate, entries, parts.bundle_four, parts.packed_rows] },
  packed_pixels: { body: [common, activate, entries, pixels, parts.packed_pixels], threads: SCAN },
  dense_rows: { body: [common, activate, parts.dense_rows], threads: REDUCE },
  dense_tiles: { body: [common, activate, pixels, parts.dense_tiles] },
  elementwise: { body: [common, activate, parts.elementwise] },
  softmax: { body: [common, parts.softmax], threads: REDUCE },
  pool: { body: [common, parts.pool] },
  copy: { body: [common, parts.copy] },
} as const;
export type KernelName = keyof typeof KERNELS;

/** Threads of a workgroup, in kernels whose workgroups have one axis. */
export const WORKGROUP = 64;

/** The variant of a kernel for features and constants. `types` are aliases: f32, or f16. */
export function kernel(
  name: KernelName,
  features: GpuFeatures,
  constants: Constants,
  types: Readonly<Record<string, "f32" | "f16">> = { Real: features.f16 ? "f16" : "f32" },
): Kernel {
  const { body, threads }: { body: readonly string[]; threads?: typeof SCAN } = KERNELS[name];
  const subgroups = threads !== undefined && features.subgroups;
  const head = [
    ...(Object.values(types).includes("f16") ? ["enable f16;"] : []),
    ...(subgroups ? ["enable subgroups;"] : []),
    ...Object.entries(types).map(([alias, type]) => `alias ${alias} = ${type};`),
    ...Object.entries({ WORKGROUP, ...constants }).map(([key, value]) => `const ${key} = ${value}u;`),
  ];
  const helpers = threads === undefined ? [] : [subgroups ? threads.subgroups : threads.plain];
  const code = `${[...head, ...helpers, ...body].join("\n")}`;
  return { name, code, sizes: sizesOf(name, code) };
}

function sizesOf(name: string, code: string): string[] {
  const members = /struct Sizes \{([^}]*)\}/.exec(code)?.[1];
  if (members === undefined) throw new DczError("unsupported", `the shader ${name} has no struct Sizes`);
  return [...members.matchAll(/^ *(\w+): u32,/gm)].map((match) => match[1] ?? "");
}
