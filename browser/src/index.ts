// Everything that the package exports.

export { type DczRule, dczFetch } from "./convert/fetch.js";
export { type FolderFile, folderFiles } from "./convert/folder.js";
export type { ToOnnxOptions } from "./convert/onnx.js";
export { DczError, type DczErrorCode } from "./errors.js";
export type { DczFile, TensorOptions, TensorsOptions } from "./file/file.js";
export { type DczSource, type OpenOptions, open, type Progress } from "./file/open.js";
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
} from "./network/layers.js";
export { type Device, type LayerFacts, Sequence, type SequenceOptions } from "./network/sequence.js";
export {
  type ArrayOf,
  CODERS,
  type Coder,
  DTYPES,
  type Dtype,
  type Entry,
  type Tensor,
  type TypedArray,
} from "./types.js";
export { openInWorker, type WorkerFile } from "./worker/worker-file.js";
