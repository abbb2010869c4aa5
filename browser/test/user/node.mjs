// A program of a user for Node: it opens a file of the disk and one behind an address.

import { readFile } from "node:fs/promises";
import { open } from "deepcompression";

const [, , path, address] = process.argv;
for (const source of [await readFile(path), address]) {
  const file = await open(source);
  const tensors = [];
  for await (const { name, shape } of file.tensors()) tensors.push([name, ...shape]);
  file.close();
  console.log(JSON.stringify(tensors));
}
