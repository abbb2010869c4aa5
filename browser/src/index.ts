// Everything that the package exports.
export { DczError, type DczErrorCode } from "./errors.js";
export { type DczRule, dczFetch } from "./fetch.js";
export type { DczFile, TensorOptions, TensorsOptions } from "./file.js";
export { type FolderFile, folderFiles } from "./folder.js";
export {
  adaptiveAvgPool2d,
  avgPool2d,
  batchNorm,
  type ConvOptions,
  conv1d,
  conv2d,
  conv3d,
  flatten,
  type Layer,
  leakyRelu,
  linear,
  maxPool2d,
  type Numbers,
  type PoolOptions,
  relu,
  sigmoid,
  softmax,
  tanh,
} from "./layers.js";
export type { ToOnnxOptions } from "./onnx.js";
export { type DczSource, type OpenOptions, open, type Progress } from "./open.js";
export { type Device, type LayerFacts, Sequence, type SequenceOptions } from "./sequence.js";
export { CODERS, type Coder, DTYPES, type Dtype, type Entry, type Tensor, type TypedArray } from "./types.js";
export { openInWorker, type WorkerFile } from "./worker-file.js";
