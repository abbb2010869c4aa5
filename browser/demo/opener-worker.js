// A visitor's own file, opened apart from the page, which stays quick.

import { holdsGraph } from "../dist/convert/onnx.js";
import { open } from "../dist/index.js";
import { serve } from "./serve.js";

let file;

serve({
  async open({ blob }) {
    file = await open(blob);
    return { entries: [...file.entries.values()], metadata: [...file.metadata], model: holdsGraph(file) };
  },

  /** `method` is toSafetensors or toOnnx. */
  async convert({ method }) {
    const content = await file[method]();
    return { content, transfer: [content.buffer] };
  },
});
