// open() over HTTP: ranges, servers without them, servers that lie, and errors of a server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { DczError, open } from "../dist/index.js";
import { serving } from "./serving.mjs";
import { collect, dcz, EXPECTED, FILE, noise } from "./writing.mjs";

const code = (expected) => (error) => error instanceof DczError && error.code === expected;
const ranges = (requests) => requests.map(({ headers }) => headers.range);
const SMALL = dcz([{ name: "x", data: noise(1000) }]);
/** The byte at which the payload of each tensor begins. */
const AT = { a: FILE.length - 270_000, b: FILE.length - 250_000, c: FILE.length - 100_000 };

test("a pass over a server with ranges takes two requests, and no byte twice", () =>
  serving(FILE, {}, async (url, requests) => {
    const steps = [];
    const file = await open(url, { onProgress: (step) => steps.push(step) });
    assert.deepEqual(ranges(requests), ["bytes=0-65535"]);
    assert.deepEqual(await collect(file), EXPECTED);
    assert.deepEqual(ranges(requests), ["bytes=0-65535", `bytes=65536-${FILE.length - 1}`]);
    assert.equal(requests[1].headers["if-range"], '"1"');
    assert.deepEqual(steps.at(-1), { loaded: FILE.length, total: FILE.length });
  }));

test("a small file takes one request", () =>
  serving(SMALL, {}, async (url, requests) => {
    const file = await open(new URL(url));
    assert.deepEqual((await file.tensor("x")).data, noise(1000));
    assert.deepEqual((await collect(file)).get("x"), noise(1000));
    assert.equal(requests.length, 1);
  }));

test("files of each size around the first request open", async () => {
  const overhead = dcz([{ name: "x", data: noise(60_000) }]).length - 60_000;
  for (const size of [65535, 65536, 65537]) {
    const data = noise(size - overhead);
    const bytes = dcz([{ name: "x", data }]);
    assert.equal(bytes.length, size);
    await serving(bytes, {}, async (url) => assert.deepEqual((await (await open(url)).tensor("x")).data, data));
  }
});

test("an index that is larger than the first request comes with a second one", () => {
  const data = noise(1000);
  const bytes = dcz([{ name: "x", data }], { long: "a".repeat(90_000) });
  return serving(bytes, {}, async (url, requests) => {
    assert.deepEqual((await collect(await open(url))).get("x"), data);
    assert.deepEqual(ranges(requests)[1], `bytes=65536-${bytes.length - 1001}`);
    assert.equal(requests.length, 3);
  });
});

test("one tensor takes one request for its bytes, and not for its neighbours'", () =>
  serving(FILE, {}, async (url, requests) => {
    const file = await open(new Request(url));
    assert.deepEqual((await file.tensor("c")).data, EXPECTED.get("c"));
    assert.deepEqual((await file.tensor("a")).data, EXPECTED.get("a"));
    assert.deepEqual(ranges(requests), ["bytes=0-65535", `bytes=${AT.c}-${FILE.length - 1}`]);
  }));

test("a pass over some names does not fetch what lies far between them", () => {
  const tensors = ["x", "y", "z"].map((name, i) => ({ name, data: noise(i === 1 ? 400_000 : 70_000, i) }));
  const bytes = dcz(tensors);
  return serving(bytes, {}, async (url, requests) => {
    const found = await collect(await open(url), { names: ["x", "z"] });
    assert.deepEqual(found.get("z"), tensors[2].data);
    const [x, z] = [bytes.length - 540_000, bytes.length - 70_000];
    assert.deepEqual(ranges(requests).slice(1), [`bytes=65536-${x + 69_999}`, `bytes=${z}-${bytes.length - 1}`]);
  });
});

test("a server without ranges sends the file once, in the first response", () =>
  serving(FILE, { ranges: false }, async (url, requests) => {
    const file = await open(url);
    assert.deepEqual(await collect(file), EXPECTED);
    assert.equal(requests.length, 1);
    // what has passed comes again, by a request for the whole
    assert.deepEqual((await file.tensor("b")).data, EXPECTED.get("b"));
    assert.equal(requests.length, 2);
    await requests[1].closed;
  }));

test("two passes at once over a server without ranges both give everything", () =>
  serving(FILE, { ranges: false }, async (url, requests) => {
    const file = await open(url);
    const found = await Promise.all([collect(file), collect(file)]);
    assert.deepEqual(found, [EXPECTED, EXPECTED]);
    assert.equal(requests.length, 2);
  }));

test("ranges: false asks for the whole file", () =>
  serving(FILE, {}, async (url, requests) => {
    assert.deepEqual(await collect(await open(url, { ranges: false })), EXPECTED);
    assert.deepEqual(ranges(requests), [undefined]);
  }));

test("headers and fetch of the caller serve every request", () =>
  serving(FILE, {}, async (url, requests) => {
    let calls = 0;
    const counting = (...args) => {
      calls++;
      return fetch(...args);
    };
    const request = new Request(url, { headers: { "X-First": "1" } });
    await collect(await open(request, { headers: { "X-Key": "2" }, fetch: counting }));
    assert.equal(calls, 2);
    for (const { headers } of requests) assert.deepEqual([headers["x-first"], headers["x-key"]], ["1", "2"]);
  }));

test("a body without length, and a packed one, give every tensor", async () => {
  for (const headers of [{}, { "Content-Encoding": "gzip" }]) {
    const ranges = !("Content-Encoding" in headers); // a request for a part does not allow packed bodies
    const body = "Content-Encoding" in headers ? gzipSync(FILE) : FILE;
    const answer = (_, response) => {
      response.writeHead(200, headers);
      for (let at = 0; at < body.length; at += 50_000) response.write(body.subarray(at, at + 50_000));
      response.end();
      return true;
    };
    await serving(FILE, { answer }, async (url) =>
      assert.deepEqual(await collect(await open(url, { ranges })), EXPECTED),
    );
  }
});

/** What a lying server answers for a part: headers and body. */
const LIES = {
  "another start": (part) => [{ "Content-Range": `bytes ${part.start + 1}-${part.end - 1}/${FILE.length}` }, part],
  "another end": (part) => [{ "Content-Range": `bytes ${part.start}-${part.end}/${FILE.length}` }, part],
  "a total before the end": (part) => [{ "Content-Range": `bytes ${part.start}-${part.end - 1}/5` }, part],
  "no Content-Range": (part) => [{}, part],
  nonsense: (part) => [{ "Content-Range": "lines 1-2/3" }, part],
  "several parts": (part) => [{ ...right(part), "Content-Type": "multipart/byteranges; boundary=x" }, part],
  "a packed part": (part) => [{ ...right(part), "Content-Encoding": "gzip" }, part, gzipSync],
  "fewer bytes": (part) => [right(part), { ...part, end: part.end - 9 }],
  "more bytes": (part) => [right(part), { ...part, end: part.end + 9 }],
};

function right(part) {
  return { "Content-Range": `bytes ${part.start}-${part.end - 1}/${FILE.length}` };
}

function lying(lie, from) {
  return (_, response, part, number) => {
    if (part === undefined || number < from) return false;
    const [headers, body, packed = (bytes) => bytes] = lie({ ...part, end: Math.min(part.end, FILE.length - 9) });
    response.writeHead(206, { ETag: '"1"', ...headers });
    response.end(packed(Buffer.concat([FILE, noise(20)]).subarray(body.start, body.end)));
    return true;
  };
}

for (const [name, lie] of Object.entries(LIES)) {
  test(`a server that answers the first request with ${name} is asked for the whole`, () =>
    serving(FILE, { answer: lying(lie, 0) }, async (url, requests) => {
      const steps = [];
      const file = await open(url, { onProgress: (step) => steps.push(step) });
      assert.deepEqual(await collect(file), EXPECTED);
      assert.deepEqual(ranges(requests), ["bytes=0-65535", undefined]);
      assert.deepEqual(steps.at(-1), { loaded: FILE.length, total: FILE.length });
    }));

  test(`a server that answers a later request with ${name} is an error, and nothing hangs`, () =>
    serving(FILE, { answer: lying(lie, 1) }, async (url, requests) => {
      const file = await open(url, { retryDelay: 0 });
      await assert.rejects(collect(file), code("server"));
      await assert.rejects(file.tensor("c"), code("server"));
      assert.deepEqual((await file.tensor("a")).data, EXPECTED.get("a"));
      await Promise.all(requests.map(({ closed }) => closed));
    }));
}

test("bytes that come late, behind those that were promised, are found", async () => {
  const late = async (_, { headers }) => {
    const [start, end] = headers.get("Range").slice(6).split("-").map(Number);
    const last = Math.min(end, FILE.length - 1);
    const chunks = [FILE.slice(start, last + 1), new Uint8Array(1)];
    const body = new ReadableStream({
      pull: (controller) => (chunks.length > 0 ? controller.enqueue(chunks.shift()) : controller.close()),
    });
    const range = `bytes ${start}-${last}/${FILE.length}`;
    if (start > 0) return new Response(body, { status: 206, headers: { "Content-Range": range } });
    return new Response(chunks[0], { status: 206, headers: { "Content-Range": range } });
  };
  const file = await open("http://localhost/model.dcz", { fetch: late });
  await assert.rejects(file.tensor("c"), code("server"));
});

test("a total that the index contradicts is the server's fault", async () => {
  for (const total of [FILE.length - 1, FILE.length + 1]) {
    const answer = (_, response, part) => {
      response.writeHead(206, { "Content-Range": `bytes 0-${part.end - 1}/${total}` });
      response.end(FILE.subarray(0, part.end));
      return true;
    };
    await serving(FILE, { answer }, (url) => assert.rejects(open(url), code("server")));
  }
});

test("a total that the server does not know is not needed", () => {
  const answer = (_, response, part) => {
    response.writeHead(206, { "Content-Range": `bytes ${part.start}-${part.end - 1}/*` });
    response.end(FILE.subarray(part.start, part.end));
    return true;
  };
  return serving(FILE, { answer }, async (url) => assert.deepEqual(await collect(await open(url)), EXPECTED));
});

test("a Content-Length that the index contradicts is the server's fault", () => {
  const answer = (_, response) => {
    response.writeHead(200, { "Content-Length": FILE.length - 5 });
    response.end(FILE.subarray(0, FILE.length - 5));
    return true;
  };
  return serving(FILE, { answer }, (url) => assert.rejects(open(url), code("server")));
});

test("an answer that is no file is an error with address, status and remedy", async () => {
  for (const [status, remedy] of [
    [404, "Check the address"],
    [403, "credentials"],
    [500, "Try again later"],
    [204, "Check the address"],
  ]) {
    const answer = (_, response) => {
      response.writeHead(status).end(status === 204 ? undefined : "a page");
      return true;
    };
    await serving(FILE, { answer }, (url) =>
      assert.rejects(open(url), (error) => {
        for (const part of [url, String(status), remedy]) assert.ok(error.message.includes(part), error.message);
        return code("network")(error);
      }),
    );
  }
});

test("a server that is not there is a network error with the address", async () => {
  const gone = await serving(FILE, {}, async (url) => url);
  await assert.rejects(open(gone), (error) => code("network")(error) && error.message.includes(gone));
});

test("redirects are followed, and a loop of them is a network error", () => {
  const answer = (request, response) => {
    if (!["/model.dcz", "/loop"].includes(request.url)) return false;
    response.writeHead(302, { Location: request.url === "/loop" ? "/loop" : "/elsewhere.dcz" }).end();
    return true;
  };
  return serving(FILE, { answer }, async (url) => {
    assert.deepEqual(await collect(await open(url)), EXPECTED);
    await assert.rejects(open(new URL("/loop", url)), code("network"));
  });
});

test("an empty file and a page of HTML are refused", async () => {
  await serving(new Uint8Array(0), {}, (url) => assert.rejects(open(url), code("truncated")));
  const page = new TextEncoder().encode("<!doctype html><title>Not here</title>");
  await serving(page, {}, (url) => assert.rejects(open(url), code("magic")));
});
