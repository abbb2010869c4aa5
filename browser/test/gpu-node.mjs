// WebGPU in Node: npm's webgpu (Dawn, whose compiler of WGSL is Tint) on the software GPU of Debian's Chromium.

process.env.VK_ICD_FILENAMES ??= "/usr/lib/chromium/vk_swiftshader_icd.json";
const peer = new URL("./programs/node_modules/webgpu/index.js", import.meta.url);
const { create, globals } = await import(peer).catch((cause) => {
  throw new Error("npm's webgpu is missing: run `make browser-tools`", { cause });
});
Object.assign(globalThis, globals);
// It must stay reachable: what is collected takes the process with it.
const gpu = create([]);
Object.defineProperty(globalThis, "navigator", { value: { gpu }, configurable: true });
