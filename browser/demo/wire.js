// What came over the wire.

/** Bytes of all that this page has loaded so far, as the browser counted them, with headers where it tells them. */
export function loadedBytes() {
  const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  // what a cache gave has no bytes on the wire; its size says what the first visit cost
  return entries.reduce((sum, entry) => sum + (entry.transferSize || entry.encodedBodySize || 0), 0);
}

/**
 * A `fetch` that fetches each part of a file once, whole, and answers from memory when it is asked for again.
 * `counted` has the bytes of the bodies, the milliseconds until they were there, and whether all were kept here before; `onBytes(count)` hears of each piece.
 */
export function rememberingFetch(onBytes = () => {}) {
  const counted = { bytes: 0, milliseconds: 0, kept: true };
  const answers = new Map();
  async function fetchOnce(input, init) {
    const request = new Request(input, init);
    const key = `${request.url} ${request.headers.get("Range")}`;
    const answer = answers.get(key) ?? (await fetchAnswer(request));
    if (answer.status < 300) answers.set(key, answer);
    return new Response(answer.body, { status: answer.status, headers: answer.headers });
  }
  async function fetchAnswer(request) {
    const began = performance.now();
    const response = await fetch(request);
    const body = await bodyOf(response, (count) => {
      counted.bytes += count;
      onBytes(counted.bytes);
    });
    counted.milliseconds += performance.now() - began;
    counted.kept &&= response.headers.get("Cache-Status")?.startsWith("service-worker") ?? false;
    return { status: response.status, headers: response.headers, body };
  }
  return { counted, fetch: fetchOnce };
}

/** A whole file. `onProgress({loaded, total})` hears of each piece; `total` is undefined where the server packs it. */
export async function fetchWhole(url, onProgress = () => {}) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} is missing on the server (${response.status}).`);
  const { headers } = response;
  const total = headers.has("Content-Encoding") ? undefined : Number(headers.get("Content-Length")) || undefined;
  let loaded = 0;
  const body = await bodyOf(response, (count) => {
    loaded += count;
    onProgress({ loaded, total });
  });
  return body.arrayBuffer();
}

async function bodyOf(response, onPiece) {
  const pieces = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return new Blob(pieces);
    pieces.push(value);
    onPiece(value.byteLength);
  }
}
