// Everything that the package exports.
export { DczError, type DczErrorCode } from "./errors.js";
export { type DczRule, dczFetch } from "./fetch.js";
export type { DczFile, TensorOptions, TensorsOptions } from "./file.js";
export { type FolderFile, folderFiles } from "./folder.js";
export * from "./layers.js";
export type { ToOnnxOptions } from "./onnx.js";
export { type DczSource, type OpenOptions, open, type Progress } from "./open.js";
export { type Device, type LayerFacts, Sequence, type SequenceOptions } from "./sequence.js";
export { CODERS, type Coder, DTYPES, type Dtype, type Entry, type Tensor, type TypedArray } from "./types.js";
export { openInWorker, type WorkerFile } from "./worker-file.js";
