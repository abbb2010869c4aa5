// Keeps the page for offline use: its core from the first visit on, large parts from when they are used.
// Each file is kept under its hash, so that a new version of the page fetches only what has changed.
// A new version takes over when the page is loaded again, and never under a page that is open.

importScripts("files.js");

const { core, later } = self.FILES;
const CACHE = "deepcompression-demo";
const TAKE_OVER = "take over";
// a page that is loaded again at once
const EMPTY = '<link rel="icon" href="data:,">';
const AGAIN = { "Content-Type": "text/html", Refresh: "0" };
const SCOPE = new URL(self.registration.scope).pathname;

self.addEventListener("install", (event) => event.waitUntil(keepCore()));
self.addEventListener("activate", (event) => event.waitUntil(dropOld().then(() => self.clients.claim())));
self.addEventListener("message", ({ data }) => data === TAKE_OVER && self.skipWaiting());
self.addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== location.origin || !pathname.startsWith(SCOPE)) return;
  const path = pathname.slice(SCOPE.length) || "index.html";
  const hash = core[path] ?? later[path];
  if (hash) event.respondWith(answer(event, path, hash));
});

function keyOf(path, hash, range = "") {
  const key = new URL(path, self.registration.scope);
  key.search = new URLSearchParams({ hash, range });
  return key.href;
}

async function keepCore() {
  const cache = await caches.open(CACHE);
  const keep = async ([path, hash]) => {
    const key = keyOf(path, hash);
    if (await cache.match(key)) return;
    const address = path === "index.html" ? "./" : path;
    const response = await fetch(address, { cache: "no-cache", integrity: `sha256-${hash}` });
    if (!response.ok) throw new Error(`${address}: ${response.status}`);
    await cache.put(key, response);
  };
  await Promise.all(Object.entries(core).map(keep));
}

async function dropOld() {
  const cache = await caches.open(CACHE);
  const hashes = new Set([...Object.values(core), ...Object.values(later)]);
  const old = (await cache.keys()).filter(({ url }) => !hashes.has(new URL(url).searchParams.get("hash")));
  await Promise.all(old.map((request) => cache.delete(request)));
}

async function answer(event, path, hash) {
  if (event.request.mode === "navigate" && (await handedOver())) return new Response(EMPTY, { headers: AGAIN });
  const cache = await caches.open(CACHE);
  const range = event.request.headers.get("Range") ?? "";
  const whole = await cache.match(keyOf(path, hash));
  // a whole file is a right answer to a request for a part, as from servers without ranges
  if (whole) return marked(whole, 200);
  const part = range && (await cache.match(keyOf(path, hash, range)));
  if (part) return marked(part, 206);
  const response = await fetch(event.request);
  if (response.status === 200) event.waitUntil(keep(cache, keyOf(path, hash), response.clone()));
  if (response.status === 206) {
    // caches take no answers of status 206
    const { headers, body } = response.clone();
    event.waitUntil(keep(cache, keyOf(path, hash, range), new Response(body, { headers })));
  }
  return response;
}

// Says that it came over no wire (RFC 9211).
function marked({ body, headers }, status) {
  return new Response(body, { status, headers: [...headers, ["Cache-Status", "service-worker; hit"]] });
}

// Whether a new version waits that no other page holds up: the next request is its own.
async function handedOver() {
  const { waiting } = self.registration;
  if (!waiting || (await self.clients.matchAll()).length > 1) return false;
  waiting.postMessage(TAKE_OVER);
  return true;
}

async function keep(cache, key, response) {
  try {
    await cache.put(key, response);
  } catch {
    // the visitor cancelled, or there is no room: it is fetched again the next time
  }
}
