// The page: digits first, with nothing else in the way; then the other sections and the copy for offline use.

import { startDigits } from "./digits.js";

const at = (id) => document.getElementById(id);

function notice(message) {
  at("notice").textContent = message;
  at("notice").hidden = false;
  at("certainty").textContent = "";
}

async function start() {
  if (!("WebAssembly" in globalThis)) {
    document.documentElement.className = "still";
    notice("This browser has WebAssembly switched off, and the networks run in it. The text and the sizes remain.");
    return;
  }
  try {
    await startDigits();
  } catch (error) {
    notice(`The digits cannot be read: ${error.message} Reload the page to try again.`);
  }
  const sections = await Promise.all([import("./layers.js"), import("./reader.js"), import("./opener.js")]);
  for (const { start } of sections) start();
  await keepOffline();
}

async function keepOffline() {
  if (!("serviceWorker" in navigator)) return;
  try {
    await kept(await navigator.serviceWorker.register("service-worker.js", { updateViaCache: "none" }));
    at("offline").textContent = "This page now works offline, with the parts that you have used.";
  } catch {
    // without a copy the page works as any other does
    at("offline").textContent = "This browser keeps no copy of the page for offline use.";
  }
}

// Waits until all is kept. A browser without room for it gives the service worker up.
function kept({ installing }) {
  return new Promise((resolve, reject) => {
    installing?.addEventListener("statechange", () => installing.state === "redundant" && reject());
    navigator.serviceWorker.ready.then(resolve);
  });
}

start();
