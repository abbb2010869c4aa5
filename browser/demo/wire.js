// What came over the wire.

/** Bytes of all that this page has loaded so far, as the browser counted them, with headers where it tells them. */
export function loadedBytes() {
  const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  // what a cache gave has no bytes on the wire; its size says what the first visit cost
  return entries.reduce((sum, entry) => sum + (entry.transferSize || entry.encodedBodySize || 0), 0);
}

/**
 * A `fetch` that fetches each part of a file once, whole, and answers from memory when it is asked for again.
 * `counted` has the bytes of the bodies and the milliseconds until they were there; `onBytes(count)` hears of each piece.
 */
export function rememberingFetch(onBytes = () => {}) {
  const counted = { bytes: 0, milliseconds: 0 };
  const answers = new Map();
  async function fetchOnce(input, init) {
    const request = new Request(input, init);
    const key = `${request.url} ${request.headers.get("Range")}`;
    const answer = answers.get(key) ?? (await fetchWhole(request));
    if (answer.status < 300) answers.set(key, answer);
    return new Response(answer.body, { status: answer.status, headers: answer.headers });
  }
  async function fetchWhole(request) {
    const began = performance.now();
    const { status, headers, body } = await fetch(request);
    const pieces = [];
    for (const reader = body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      counted.bytes += value.byteLength;
      onBytes(counted.bytes);
    }
    counted.milliseconds += performance.now() - began;
    return { status, headers, body: new Blob(pieces) };
  }
  return { counted, fetch: fetchOnce };
}
