// open() where connections break, files change, and callers stop: it resumes, or ends with an error, and leaves nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { DczError, open } from "../dist/index.js";
import { serving } from "./serving.mjs";
import { collect, dcz, EXPECTED, FILE, noise } from "./writing.mjs";

const code = (expected) => (error) => error instanceof DczError && error.code === expected;
const SMALL_TENSORS = [
  { name: "x", data: noise(150) },
  { name: "y", data: noise(40, 2) },
];
const SMALL = dcz(SMALL_TENSORS);
const QUICK = { retryDelay: 0 };

for (const ranges of [true, false]) {
  const kind = ranges ? "with ranges" : "without ranges";

  test(`a connection to a server ${kind} that breaks at any byte resumes there`, async () => {
    for (let at = 0; at < SMALL.length; at += 7) {
      const cut = (number) => (number === 0 ? at : undefined);
      await serving(SMALL, { ranges, cut }, async (url, requests) => {
        const found = await collect(await open(url, QUICK));
        for (const { name, data } of SMALL_TENSORS) assert.deepEqual(found.get(name), data);
        assert.equal(requests.length, 2);
        if (ranges) assert.equal(requests[1].headers.range, `bytes=${at}-${SMALL.length - 1}`);
      });
    }
  });

  test(`a connection to a server ${kind} that breaks again and again gives every tensor`, () => {
    const cut = (number) => (ranges ? 20_000 : 20_000 * (number + 1));
    return serving(FILE, { ranges, cut }, async (url, requests) => {
      const steps = [];
      const file = await open(url, { ...QUICK, retries: 1, onProgress: (step) => steps.push(step.loaded) });
      assert.deepEqual(await collect(file), EXPECTED);
      assert.ok(requests.length > 10);
      assert.equal(steps.at(-1), FILE.length);
      for (const [i, loaded] of steps.entries()) assert.ok(i === 0 || loaded >= steps[i - 1]);
    });
  });

  test(`a server ${kind} that is gone is tried again so many times and no more`, () => {
    const cut = (number) => (number === 0 ? 30_000 : 0);
    return serving(FILE, { ranges, cut }, async (url, requests) => {
      const file = open(url, { ...QUICK, retries: 3 });
      await assert.rejects(async () => collect(await file), code("network"));
      assert.equal(requests.length, 4);
    });
  });

  test(`a file that changes on a server ${kind} between two requests is named`, () => {
    const cut = (number) => (number === 0 ? 30_000 : undefined);
    const etag = (number) => `"${number}"`;
    return serving(FILE, { ranges, cut, etag }, async (url) => {
      const all = async () => collect(await open(url, QUICK));
      if (ranges) {
        // while it opens, the whole of the new file still comes
        assert.deepEqual(await all(), EXPECTED);
      } else {
        await assert.rejects(all(), (error) => code("server")(error) && error.message.includes(url));
      }
    });
  });
}

test("a file that changes after it was opened is an error, whatever the server makes of If-Range", async () => {
  const etag = (number) => (number === 0 ? '"old"' : '"new"');
  const deaf = (request) => {
    delete request.headers["if-range"];
    return false;
  };
  for (const answer of [undefined, deaf]) {
    await serving(FILE, { etag, ...(answer && { answer }) }, async (url) => {
      const file = await open(url, QUICK);
      await assert.rejects(collect(file), (error) => code("server")(error) && error.message.includes("changed"));
      await assert.rejects(file.tensor("c"), code("server"));
    });
  }
});

test("a server that stops giving ranges of an unchanged file still gives every tensor", () => {
  const answer = (_, response, __, number) => {
    if (number === 0) return false;
    response.writeHead(200, { ETag: '"1"' }).end(FILE);
    return true;
  };
  return serving(FILE, { answer }, async (url) => {
    const file = await open(url);
    assert.deepEqual((await file.tensor("c")).data, EXPECTED.get("c"));
    assert.deepEqual(await collect(file), EXPECTED);
  });
});

test("errors of a server in the middle are tried again, refusals are not", async () => {
  for (const [status, requested, expected] of [
    [503, 3, undefined],
    [429, 3, undefined],
    [404, 2, "network"],
    [416, 2, "server"],
  ]) {
    const answer = (_, response, __, number) => {
      if (number !== 1) return false;
      response.writeHead(status).end();
      return true;
    };
    await serving(FILE, { answer }, async (url, requests) => {
      const all = async () => collect(await open(url, QUICK));
      if (expected === undefined) assert.deepEqual(await all(), EXPECTED);
      else await assert.rejects(all(), code(expected));
      assert.equal(requests.length, requested);
    });
  }
});

test("a damaged byte is found wherever it lies, and every tensor before it is given", async () => {
  for (let at = 0; at < SMALL.length; at++) {
    const damaged = SMALL.slice();
    damaged[at] ^= 16;
    await assert.rejects(async () => collect(await open(new Blob([damaged]))), DczError);
  }
  const damaged = FILE.slice();
  damaged[FILE.length - 1] ^= 1;
  await serving(damaged, {}, async (url, requests) => {
    const names = [];
    const pass = (await open(url)).tensors();
    await assert.rejects(async () => {
      for await (const { name } of pass) names.push(name);
    }, code("checksum"));
    assert.deepEqual(names, ["a", "tied", "b", "none"]);
    await Promise.all(requests.map(({ closed }) => closed));
  });
});

/** Waits until so many requests have come, and some turns more. */
async function arrived(requests, count) {
  for (let left = 20; left > 0; ) {
    await new Promise((resolve) => setImmediate(resolve));
    if (requests.length >= count) left--;
  }
}

/** Sends so many bytes of each body, then nothing. The first requests may be answered well. */
function stalling(bytes, from = 0) {
  return (_, response, part, number) => {
    if (number < from) return false;
    const { start, end } = part ?? { start: 0, end: FILE.length };
    const partial = { "Content-Range": `bytes ${start}-${end - 1}/${FILE.length}`, "Content-Length": end - start };
    if (part === undefined) response.writeHead(200, { "Content-Length": FILE.length });
    else response.writeHead(206, partial);
    response.write(FILE.subarray(start, start + bytes));
    return true;
  };
}

const IMPATIENT = { idleTimeout: 400, retries: 1, retryDelay: 1 };

for (const ranges of [true, false]) {
  const kind = ranges ? "with ranges" : "without ranges";
  test(`a connection to a server ${kind} that falls silent is left, and goes on by another`, () => {
    const answer = (...args) => args[3] % 2 === 0 && stalling(30_000)(...args);
    return serving(FILE, { answer, ranges }, async (url, requests) => {
      const found = await collect(await open(url, { ...IMPATIENT, ranges }));
      assert.deepEqual(found, EXPECTED);
      assert.ok(requests.length >= 2);
      await Promise.all(requests.map(({ closed }) => closed));
    });
  });
}

test("a server that stays silent is an error, and no connection is left", () =>
  serving(FILE, { answer: stalling(0, 1) }, async (url, requests) => {
    const file = await open(url, IMPATIENT);
    const silent = (error) => code("network")(error) && /silent for 0.4 s.*idleTimeout/.test(error.message);
    await assert.rejects(file.tensor("c"), silent);
    assert.ok(requests.length > 1 + IMPATIENT.retries);
    await Promise.all(requests.map(({ closed }) => closed));
  }));

test("a server that does not answer at all is an error, and the connection is ended", () =>
  serving(FILE, { answer: () => true }, async (url, requests) => {
    await assert.rejects(open(url, IMPATIENT), (error) => code("network")(error) && /silent/.test(error.message));
    await Promise.all(requests.map(({ closed }) => closed));
  }));

test("a stream of the caller may take its time", async () => {
  const slow = new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 60));
      controller.enqueue(FILE.slice());
      controller.close();
    },
  });
  assert.deepEqual(await collect(await open(slow, { idleTimeout: 20 })), EXPECTED);
});

const PHASES = {
  "before the server answers": { count: 1, answer: () => true },
  "in the first response": { count: 1, answer: stalling(100) },
  "in the middle of the pass": { count: 2, answer: stalling(30_000, 1) },
  "in a whole file": { count: 1, answer: stalling(100_000), ranges: false },
  "while a retry waits": { count: 2, cut: (number) => (number === 0 ? undefined : 0), retryDelay: 1e6 },
};

for (const [phase, { count, answer, cut, ranges, retryDelay }] of Object.entries(PHASES)) {
  test(`a signal ${phase} ends the work and the connection`, () =>
    serving(FILE, { ...(answer && { answer }), ...(cut && { cut }) }, async (url, requests) => {
      const stop = new AbortController();
      const work = async () => collect(await open(url, { signal: stop.signal, ranges, retryDelay }));
      const failing = assert.rejects(work(), (error) => code("aborted")(error) && error.cause === "enough");
      await arrived(requests, count);
      stop.abort("enough");
      await failing;
      await Promise.all(requests.map(({ closed }) => closed));
    }));
}

test("a signal of one call ends that call alone", () =>
  serving(FILE, { answer: stalling(30_000, 1) }, async (url, requests) => {
    const file = await open(url);
    const stop = new AbortController();
    const { signal } = stop;
    const calls = [file.tensor("c", { signal }), file.tensor("b", { signal }), collect(file, { signal })];
    const settled = Promise.allSettled(calls);
    await arrived(requests, 3);
    stop.abort();
    for (const { reason } of await settled) assert.equal(reason.code, "aborted");
    await Promise.all(requests.map(({ closed }) => closed));
    assert.deepEqual((await file.tensor("a")).data, EXPECTED.get("a"));
    await assert.rejects(file.tensor("a", { signal }), code("aborted"));
  }));

test("a call that waits for its turn can be ended, too", () =>
  serving(FILE, { answer: stalling(30_000, 1) }, async (url, requests) => {
    const file = await open(url);
    const stop = new AbortController();
    const first = assert.rejects(file.tensor("c"), code("aborted"));
    const second = assert.rejects(file.tensor("b", { signal: stop.signal }), code("aborted"));
    await arrived(requests, 2);
    stop.abort();
    await second;
    file.close();
    await first;
    assert.equal(requests.length, 2);
  }));

test("a signal that fired before is an error at once, without a request", () =>
  serving(FILE, {}, async (url, requests) => {
    await assert.rejects(open(url, { signal: AbortSignal.abort() }), code("aborted"));
    await assert.rejects(open(new Request(url, { signal: AbortSignal.abort() })), code("aborted"));
    assert.equal(requests.length, 0);
  }));

test("leaving a pass, or closing the file, ends the connection", () =>
  serving(FILE, { answer: (...args) => stalling(args[3] === 1 ? 150_000 : 50, 1)(...args) }, async (url, requests) => {
    const file = await open(url);
    for await (const { name } of file.tensors()) if (name === "b") break;
    await requests[1].closed;
    const waiting = assert.rejects(file.tensor("c"), code("aborted"));
    await arrived(requests, 3);
    file.close();
    await waiting;
    await Promise.all(requests.map(({ closed }) => closed));
  }));

test("closing a file from a server without ranges ends the connection", () =>
  serving(FILE, { answer: stalling(100_000) }, async (url, requests) => {
    const file = await open(url, { ranges: false });
    const waiting = assert.rejects(file.tensor("b"), code("aborted"));
    file.close();
    await waiting;
    await requests[0].closed;
  }));

test("a slow caller slows the server down", async () => {
  const large = dcz([
    { name: "x", data: new Uint8Array(100_000) },
    { name: "y", data: new Uint8Array(64e6), checksum: 0 },
  ]);
  let sent = 0;
  const answer = (_, response) => {
    response.writeHead(200, { "Content-Length": large.length });
    const more = () => {
      while (sent < large.length) {
        const chunk = large.subarray(sent, sent + 65536);
        sent += chunk.length;
        if (!response.write(chunk)) return response.once("drain", more);
      }
      return response.end();
    };
    more();
    return true;
  };
  await serving(large, { answer }, async (url) => {
    const file = await open(url);
    const pass = file.tensors()[Symbol.asyncIterator]();
    await pass.next();
    let before = -1;
    while (sent !== before) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.ok(sent < 30e6, `${sent} bytes of ${large.length} were sent`);
    await pass.return();
    file.close();
  });
});
