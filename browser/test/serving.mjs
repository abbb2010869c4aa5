// A server in this process for tests of open(): it serves one file, as honestly as the test says.

import { once } from "node:events";
import { createServer } from "node:http";

/**
 * Serves `file` while `use(url, requests)` runs. Options: ranges (false: the whole file for every request), etag (a
 * function of the number of the request), cut (bytes of each body after which the connection breaks; a function of the
 * number of the request), answer(request, response, part): answers by itself if it gives true. `requests` has for each
 * request its headers, and `closed` once the connection of its response has ended.
 */
export async function serving(file, options, use) {
  const { ranges = true, etag = () => '"1"', cut = () => undefined, answer = () => false } = options;
  const requests = [];
  const server = createServer((request, response) => {
    const number = requests.length;
    const note = { headers: request.headers, sent: 0 };
    note.closed = once(response, "close").then(() => undefined);
    requests.push(note);
    const part = partOf(request.headers.range, file.length);
    note.part = part;
    if (answer(request, response, part, number)) return;
    const tag = etag(number);
    const changed = request.headers["if-range"] !== undefined && request.headers["if-range"] !== tag;
    const partial = part !== undefined && ranges && !changed;
    if (partial && part.start >= file.length) {
      response.writeHead(416, { "Content-Range": `bytes */${file.length}` }).end();
      return;
    }
    const body = partial ? file.subarray(part.start, part.end) : file;
    const headers = { "Content-Length": body.length, ...(tag === undefined ? {} : { ETag: tag }) };
    if (partial) headers["Content-Range"] = `bytes ${part.start}-${part.end - 1}/${file.length}`;
    response.writeHead(partial ? 206 : 200, headers);
    const until = cut(number);
    if (until === undefined || until >= body.length) response.end(body);
    else response.write(body.subarray(0, until), () => response.destroy());
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  try {
    return await use(`http://127.0.0.1:${server.address().port}/model.dcz`, requests);
  } finally {
    server.closeAllConnections?.();
    await new Promise((resolve) => server.close(resolve));
  }
}

function partOf(range, size) {
  const found = /^bytes=(\d+)-(\d+)$/.exec(range ?? "");
  return found === null ? undefined : { start: Number(found[1]), end: Math.min(Number(found[2]) + 1, size) };
}
