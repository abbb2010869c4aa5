// Writes small .dcz files for tests: tensors of the coder raw, and ties.

const DTYPES = { F64: 0, F32: 1, F16: 2, BF16: 3, I64: 6, I32: 7, I8: 9, U8: 13, BOOL: 14, C64: 15, C128: 16, F4: 23 };
const encoder = new TextEncoder();

export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

function u32(value) {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
}

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return [...bytes, value];
}

function text(value) {
  const bytes = encoder.encode(value);
  return [...varint(bytes.length), ...bytes];
}

/** A file of tensors {name, dtype, shape, data: bytes, checksum} or {name, same: number of an earlier one}. */
export function dcz(tensors, metadata = {}) {
  const index = [...varint(Object.keys(metadata).length)];
  for (const [key, value] of Object.entries(metadata)) index.push(...text(key), ...text(value));
  index.push(...varint(tensors.length));
  for (const { name, dtype = "U8", data, shape = [data?.length], same, checksum } of tensors) {
    index.push(0, ...text(name));
    if (same !== undefined) index.push(0, ...varint(same));
    else {
      index.push(1, DTYPES[dtype], ...varint(shape.length), ...shape.flatMap(varint), ...varint(data.length));
      index.push(...u32(checksum ?? crc32(data)));
    }
  }
  const head = [0x89, 0x44, 0x43, 0x5a, 1, ...varint(index.length), ...index];
  const parts = tensors.filter(({ same }) => same === undefined).map(({ data }) => data);
  const whole = [Uint8Array.from([...head, ...u32(crc32(head))]), ...parts];
  const file = new Uint8Array(whole.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of whole) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

/** Bytes that look random; the same for the same seed. */
export function noise(length, seed = 1) {
  const bytes = new Uint8Array(length);
  let state = seed * 2654435761;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** A file of three tensors, a tie and an empty one: 270,000 bytes, so that the first request holds only a part. */
export const TENSORS = [
  { name: "a", data: noise(20_000, 1) },
  { name: "b", data: noise(150_000, 2) },
  { name: "tied", same: 0 },
  { name: "none", data: new Uint8Array(0) },
  { name: "c", data: noise(100_000, 3) },
];
export const FILE = dcz(TENSORS, { about: "a test" });
/** What it holds: name -> bytes, in the order in which a pass gives them. */
export const EXPECTED = new Map(["a", "tied", "b", "none", "c"].map((name) => [name, dataOf(name)]));

function dataOf(name) {
  const found = TENSORS.find((each) => each.name === name);
  return found.data ?? TENSORS[found.same].data;
}

/** The tensors of a pass: name -> bytes. */
export async function collect(file, options) {
  const found = new Map();
  for await (const { name, data } of file.tensors(options)) {
    found.set(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return found;
}

/** A stream of a file in chunks of so many bytes; `pulled` counts the bytes that somebody asked for. */
export function streamOf(file, chunkBytes, seen = { pulled: 0, cancelled: false }) {
  let at = 0;
  const stream = new ReadableStream(
    {
      pull(controller) {
        if (at >= file.length) return controller.close();
        controller.enqueue(file.slice(at, at + chunkBytes));
        at += chunkBytes;
        seen.pulled = Math.min(at, file.length);
      },
      cancel() {
        seen.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return stream;
}

/** The file as each kind of source. */
export const KINDS = {
  "an ArrayBuffer": () => FILE.slice().buffer,
  bytes: () => FILE,
  "bytes within others": () => {
    const wide = new Uint8Array(FILE.length + 3);
    wide.set(FILE, 3);
    return wide.subarray(3);
  },
  "a Blob": () => new Blob([FILE]),
  "a File": () => new File([FILE], "model.dcz"),
  "a Response": () => new Response(FILE),
  "a stream": () => streamOf(FILE, 1000),
  "a stream of one chunk": () => streamOf(FILE, FILE.length),
};
