// ddddocr in ONNX Runtime Web, out of a .dcz file.

import { open } from "../dist/index.js";
import { fetching } from "./numbers.js";
import { env, InferenceSession, Tensor } from "./ort/ort.wasm.min.mjs";
import { serve } from "./serve.js";
import { fetchWhole } from "./wire.js";

// one thread: more would need headers that not every server sends
env.wasm.numThreads = 1;
const RUNTIME = new URL("./ort/ort-wasm-simd-threaded", import.meta.url).href;
env.wasm.wasmPaths = { mjs: `${RUNTIME}.mjs`, wasm: `${RUNTIME}.wasm` };
const ABOUT = new URL("models/ddddocr.json", location.href);
const MODEL = new URL("models/ddddocr.dcz", location.href);

let session;
let characters;

serve({ load, read });

/** Fetches the file, makes the ONNX model, starts the session. */
async function load(_, tell) {
  const telling = (what, from, to) => {
    tell({ stage: `Fetching ${what}`, part: from });
    return ({ loaded, total }) =>
      total && tell({ stage: fetching(what, loaded, total), part: from + ((to - from) * loaded) / total });
  };
  tell({ stage: "Fetching the model", part: 0 });
  const about = JSON.parse(new TextDecoder().decode(await fetchWhole(ABOUT)));
  characters = about.characters;
  const began = performance.now();
  const file = await open(MODEL, { onProgress: telling("the model", 0, 0.3) });
  const model = await file.toOnnx();
  const modelMilliseconds = performance.now() - began;
  file.close();
  env.wasm.wasmBinary = await fetchWhole(env.wasm.wasmPaths.wasm, telling("ONNX Runtime Web", 0.3, 0.9));
  tell({ stage: "Starting ONNX Runtime Web", part: 0.9 });
  const before = performance.now();
  // the model declares a shape of its output that it never has, which makes a warning each time
  session = await InferenceSession.create(model, { logSeverityLevel: 3 });
  const sessionMilliseconds = performance.now() - before;
  return { about, modelMilliseconds, sessionMilliseconds, runtimeBytes: runtimeBytes() };
}

/** The text in a picture: `grey` has width x height values from 0 (black) to 1 (white). */
async function read({ grey, width, height }) {
  const began = performance.now();
  const input = new Tensor("float32", grey, [1, 1, height, width]);
  const outputs = await session.run({ [session.inputNames[0]]: input });
  const { data, dims } = outputs[session.outputNames[0]];
  return { text: textOf(data, dims.at(-1)), milliseconds: performance.now() - began };
}

// The largest class of each column, without repetitions and without the blank, class 0 (CTC).
function textOf(scores, classes) {
  let text = "";
  let before = 0;
  for (let start = 0; start < scores.length; start += classes) {
    const column = scores.subarray(start, start + classes);
    const best = column.reduce((most, score, index) => (score > column[most] ? index : most), 0);
    if (best !== before) text += characters[best];
    before = best;
  }
  return text;
}

function runtimeBytes() {
  const entries = performance.getEntriesByType("resource").filter(({ name }) => name.includes("/ort/"));
  return entries.reduce((sum, entry) => sum + (entry.decodedBodySize || 0), 0);
}
