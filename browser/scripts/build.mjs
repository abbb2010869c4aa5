// Builds the package: dist/*.wasm from C, src/gpu/shaders.ts from shaders/*.wgsl, then dist/*.js and *.d.ts by tsc.

import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildWasm } from "./wasm.mjs";

const BROWSER = dirname(dirname(fileURLToPath(import.meta.url)));

/** Each shaders/NAME.wgsl becomes `export const NAME`. */
function writeShaders() {
  const folder = join(BROWSER, "shaders");
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".wgsl")) : [];
  const lines = names.sort().map((name) => {
    const text = readFileSync(join(folder, name), "utf8");
    return `export const ${name.slice(0, -".wgsl".length)} = ${JSON.stringify(text)};\n`;
  });
  if (lines.length > 0)
    writeFileSync(join(BROWSER, "src", "gpu", "shaders.ts"), `// Made by scripts/build.mjs.\n${lines.join("")}`);
}

/** Pages load modules without comments; editors show those of the declarations. */
function compile() {
  const tsc = join(BROWSER, "node_modules", "typescript", "bin", "tsc");
  for (const options of [["--declaration", "false", "--removeComments"], ["--emitDeclarationOnly"]]) {
    execFileSync(process.execPath, [tsc, ...options], { cwd: BROWSER, stdio: "inherit" });
  }
}

// what earlier builds left there would be published, too
rmSync(join(BROWSER, "dist"), { recursive: true, force: true });
await buildWasm();
writeShaders();
compile();
copyFileSync(join(BROWSER, "..", "LICENSE"), join(BROWSER, "LICENSE"));
