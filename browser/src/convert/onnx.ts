// A file of an ONNX model -> the model (docs/format.md, "ONNX models"): marks in its graph become tensors.

import { DczError } from "../errors.js";
import { DTYPES, type Dtype, type Entry } from "../types.js";
import { bytesOf, Composed, lengthOf, type Part, type TensorFile } from "./composed.js";
import { type Field, fields, LENGTH, readVarint, VARINT, varint } from "./protobuf.js";

/** The tensor that holds the graph. */
const GRAPH = "onnx.graph";

// key of the entry of external data that holds the name of a marked tensor
const MARK = "deepcompression";

// of an ONNX file, and of any message of protobuf
const MOST_BYTES = 2 ** 31 - 1;

// as in protobuf's own parsers
const MOST_NESTING = 100;

type Kind = "model" | "graph" | "node" | "attribute" | "function" | "sparse" | "tensor";

// The messages on the way to a tensor: kind -> number of a field -> kind of its value.
const INNER: Record<Kind, Readonly<Record<number, Kind>>> = {
  model: { 7: "graph", 25: "function" },
  graph: { 1: "node", 5: "tensor", 15: "sparse" },
  node: { 5: "attribute" },
  attribute: { 5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse" },
  function: { 7: "node", 11: "attribute" },
  sparse: { 1: "tensor", 2: "tensor" },
  tensor: {},
};

// The fields among them that a message has once.
const ONCE: Partial<Record<Kind, readonly number[]>> = { model: [7], attribute: [5, 6, 22], sparse: [1, 2] };

// fields of a TensorProto
const DIMS = 1;
const DATA_TYPE = 2;
const RAW_DATA = 9;
const EXTERNAL_DATA = 13;
const DATA_LOCATION = 14;
const EXTERNAL = 1;

const TEXT = new TextDecoder("utf-8", { ignoreBOM: true });

// ONNX's number of a dtype -> dtype
const DTYPE_NAMES = (
  "- F32 U8 I8 U16 I16 I32 I64 - BOOL F16 F64 U32 U64 C64 C128 BF16 F8_E4M3 F8_E4M3FNUZ F8_E5M2 F8_E5M2FNUZ " +
  "U4 I4 F4 F8_E8M0 U2 I2 F6_E2M3 F6_E3M2"
).split(" ");

/** What `toOnnx` takes. */
export interface ToOnnxOptions {
  /**
   * Is called with the name of each file beside the model that the graph says holds data. The caller's runtime must
   * get these files too. Without it such a model is an error.
   */
  readonly onExternal?: ((location: string) => void) | undefined;
  /** Ends the call with the error `aborted`. */
  readonly signal?: AbortSignal | undefined;
}

/** Whether a file holds an ONNX model. */
export function holdsGraph(file: TensorFile): boolean {
  return file.metadata.get("format") === "onnx" && file.entries.has(GRAPH);
}

/** `DczFile.toOnnx`. */
export async function toOnnx(file: TensorFile, options: ToOnnxOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
  return (await composedOnnx(file, options)).toBytes(options.signal);
}

/** The same model, of which only the graph has been decoded. */
export async function composedOnnx(file: TensorFile, options: ToOnnxOptions = {}): Promise<Composed> {
  const entry = file.entries.get(GRAPH);
  if (entry === undefined || !holdsGraph(file)) {
    throw new DczError(
      "unsupported",
      "this file holds no ONNX model, which dcz compress makes of an .onnx file: take its tensors with toSafetensors()",
    );
  }
  if (entry.dtype !== "U8") {
    throw new DczError("payload", `${GRAPH} is of ${entry.dtype}, expected U8`);
  }
  const model = new Composed(file, new Filling(await bytesOf(file, entry), file, options).parts());
  if (model.bytes > MOST_BYTES) {
    throw new DczError(
      "size",
      `the model takes ${model.bytes} bytes, and no ONNX file can hold more than ${MOST_BYTES}: ` +
        "read its tensors with tensors(), or write it with a file of data beside it by dcz decompress",
    );
  }
  return model;
}

/** A message with tensors in it, in parts. */
interface Filled {
  readonly parts: Part[];
  readonly bytes: number;
}

/** The way through a graph that replaces each mark by its tensor, and keeps all other bytes. */
class Filling {
  private readonly missing: Set<string>;

  constructor(
    private readonly graph: Uint8Array,
    private readonly file: TensorFile,
    private readonly options: ToOnnxOptions,
  ) {
    this.missing = new Set(file.entries.keys());
    this.missing.delete(GRAPH);
  }

  /** The whole model. Throws DczError unless each tensor of the file has one place. */
  parts(): Part[] {
    const end = this.graph.length;
    if (![...fields(this.graph, 0, end)].some((each) => INNER.model[each.number] === "graph" && each.wire === LENGTH)) {
      throw new DczError("payload", `${GRAPH} is no ONNX model: there is no graph in it`);
    }
    const filled = this.message("model", 0, end, 0);
    const [first] = this.missing;
    if (first !== undefined) {
      throw new DczError("payload", `the graph of the ONNX model has no place for the tensor ${first}`);
    }
    return filled?.parts ?? [this.graph];
  }

  /** A message with all its marks replaced; undefined if it has none. */
  private message(kind: Kind, start: number, end: number, nesting: number): Filled | undefined {
    if (nesting > MOST_NESTING) {
      throw new DczError("payload", `the graph of the ONNX model is nested more than ${MOST_NESTING} messages deep`);
    }
    if (kind === "tensor") {
      return this.tensor(start, end);
    }
    const parts: Part[] = [];
    const seen = new Set<number>();
    let kept = start;
    for (const field of fields(this.graph, start, end)) {
      const inner = field.wire === LENGTH ? INNER[kind][field.number] : undefined;
      if (inner === undefined) {
        continue;
      }
      if (seen.has(field.number) && ONCE[kind]?.includes(field.number)) {
        throw new DczError("payload", `at byte ${field.start} of the ONNX model, a ${kind} has its ${inner} twice`);
      }
      seen.add(field.number);
      const filled = this.message(inner, field.valueStart, field.end, nesting + 1);
      if (filled !== undefined) {
        parts.push(this.graph.subarray(kept, field.tagEnd), varint(filled.bytes));
        for (const part of filled.parts) {
          parts.push(part);
        }
        kept = field.end;
      }
    }
    return parts.length > 0 ? this.filled([...parts, this.graph.subarray(kept, end)]) : undefined;
  }

  private filled(parts: Part[]): Filled {
    return { parts, bytes: parts.reduce((sum, part) => sum + lengthOf(part), 0) };
  }

  /** A tensor with its elements in place of its mark; undefined if it has none. */
  private tensor(start: number, end: number): Filled | undefined {
    const own = [...fields(this.graph, start, end)];
    const external = own.filter((each) => each.number === EXTERNAL_DATA && each.wire === LENGTH);
    const texts = external.map((each) => this.pair(each));
    const name = texts.find(([key]) => key === MARK)?.[1];
    if (name === undefined) {
      this.checkLocation(own, texts);
      return undefined;
    }
    const entry = this.entryFor(name, own);
    // in the order of the fields' numbers, as protobuf writes them
    const place = own.findIndex((each) => each.number > RAW_DATA);
    const keep = (each: Field): boolean => ![RAW_DATA, EXTERNAL_DATA, DATA_LOCATION].includes(each.number);
    const bytes = (each: Field): Uint8Array => this.graph.subarray(each.start, each.end);
    return this.filled([
      ...own.slice(0, place).filter(keep).map(bytes),
      Uint8Array.of(RAW_DATA * 8 + LENGTH),
      varint(entry.denseBytes),
      entry,
      ...own.slice(place).filter(keep).map(bytes),
    ]);
  }

  /** Key and value of an entry of external data. */
  private pair(field: Field): [string, string] {
    const found: [string, string] = ["", ""];
    for (const each of fields(this.graph, field.valueStart, field.end)) {
      if (each.wire === LENGTH && (each.number === 1 || each.number === 2)) {
        found[each.number - 1] = TEXT.decode(this.graph.subarray(each.valueStart, each.end));
      }
    }
    return found;
  }

  /** The entry of a marked tensor. Throws DczError unless it is as the graph says, and is asked for once. */
  private entryFor(name: string, own: readonly Field[]): Entry {
    const entry = this.file.entries.get(name);
    if (entry === undefined || name === GRAPH) {
      throw new DczError("payload", `the graph of the ONNX model has a place for the tensor ${name}, which is missing`);
    }
    if (!this.missing.delete(name)) {
      throw new DczError("payload", `the graph of the ONNX model has two places for the tensor ${name}`);
    }
    const dims = own.filter((each) => each.number === DIMS).flatMap((each) => this.numbers(each));
    const number = own.findLast((each) => each.number === DATA_TYPE && each.wire === VARINT)?.value ?? 0;
    const dtype = DTYPES.find((each): each is Dtype => each === DTYPE_NAMES[number]);
    if (dtype !== entry.dtype || dims.join() !== entry.shape.join()) {
      throw new DczError(
        "payload",
        `the tensor ${name} is [${entry.shape}] of ${entry.dtype}, in the graph of the ONNX model [${dims}] of ` +
          `${dtype ?? `the dtype ${number}`}`,
      );
    }
    return entry;
  }

  /** The numbers of a repeated field, one or packed. */
  private numbers(field: Field): number[] {
    if (field.wire !== LENGTH) {
      return [field.value];
    }
    const found: number[] = [];
    for (let at = field.valueStart; at < field.end; ) {
      const read = readVarint(this.graph, at, field.end);
      found.push(read.value);
      at = read.end;
    }
    return found;
  }

  /** Tells the caller of data in a file beside the model, or throws DczError. */
  private checkLocation(own: readonly Field[], texts: readonly (readonly [string, string])[]): void {
    const where = own.findLast((each) => each.number === DATA_LOCATION && each.wire === VARINT)?.value;
    if (where !== EXTERNAL) {
      return;
    }
    const location = texts.findLast(([key]) => key === "location")?.[1] ?? "";
    if (this.options.onExternal === undefined) {
      throw new DczError(
        "unsupported",
        `data of the ONNX model lie in the file ${location} beside it, which is not in this file: give your runtime ` +
          "that file, and give toOnnx an option onExternal, which is called with each such name",
      );
    }
    this.options.onExternal(location);
  }
}
