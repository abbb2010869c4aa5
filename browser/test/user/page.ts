// A program of a user, in TypeScript, for a page: it opens a file on the page and in a worker, and shows what is in it.

import { DczError, type DczFile, open, openInWorker, type Tensor } from "deepcompression";

async function shown(file: DczFile): Promise<string> {
  const found: string[] = [];
  for await (const { name, dtype, shape, data } of file.tensors()) {
    found.push(`${name} ${dtype} ${shape.join("x")} ${data.length}`);
  }
  const bias: Tensor = await file.tensor("fc2.bias");
  const first: number | undefined = bias.dtype === "F32" ? bias.data[0] : undefined;
  if (first === undefined) throw new Error("float32 was expected");
  const code = await file.tensor("fc3.bias").catch((error: unknown) => {
    return error instanceof DczError ? error.code : "not ours";
  });
  file.close();
  return [...found, bias.name, code].join("\n");
}

export async function compare(address: string): Promise<[string, string]> {
  return [await shown(await open(address)), await shown(await openInWorker(address))];
}

Object.assign(globalThis, { compare });
