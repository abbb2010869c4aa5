// The section of AlexNet's layers: runs them in a worker each, one after another, and shows the figures.

import { bytes, time, times } from "./numbers.js";
import { Status } from "./status.js";
import { Task } from "./tasks.js";

// the smallest first: it shows first
const NAMES = ["fc8", "fc7", "fc6"];
// what one calls the better and the worse
const SIZES = ["smaller", "larger"];
const DEVICES = { wasm: "CPU", webgpu: "GPU" };
const at = (id) => document.getElementById(id);
const status = new Status("layers");

let results = [];
let task;
let cancelled = false;

/** Makes the section ready for its button. */
export function start() {
  at("layers-start").disabled = false;
  at("layers-start").onclick = measureAll;
  at("layers-cancel").onclick = () => {
    cancelled = true;
    task?.close();
  };
  for (const choice of document.querySelectorAll("input[name=link]")) choice.onchange = showResults;
}

async function measureAll() {
  status.begin();
  results = [];
  cancelled = false;
  at("layers-tables").replaceChildren();
  try {
    for (const [index, name] of NAMES.entries()) {
      // a worker for each layer: when it ends, all that it held is free
      task = new Task("layers-worker.js");
      const result = await task.call("measure", { name }, ({ stage, part }) =>
        status.progress(stage, (index + part) / NAMES.length),
      );
      task.close();
      if (cancelled) break;
      results.push(result);
      showResults();
    }
    if (cancelled) status.cancelled();
    else status.say(summary());
  } catch (error) {
    task.close();
    status.failed(error);
  }
  status.end();
}

function summary() {
  const missing = results.find(({ gpu }) => gpu.missing)?.gpu.missing;
  const change = Math.max(...results.flatMap(({ devices }) => devices.map((device) => device.change ?? 0)));
  const same = `Dense and compressed differ by at most ${(100 * change).toFixed(5)} % of the largest output.`;
  if (!missing) return `Done, on the CPU and on the GPU (${results[0].gpu.name}). ${same}`;
  const alone = results.some(({ devices }) => devices.length > 1) ? "partly on the CPU alone" : "on the CPU alone";
  return `Done, ${alone}: ${missing}. ${same}`;
}

// Bytes a millisecond.
function speed() {
  const chosen = document.querySelector("input[name=link]:checked").value;
  if (chosen !== "measured") return (Number(chosen) * 1e6) / 8 / 1000;
  return measured().bytes / measured().milliseconds;
}

function measured() {
  const sum = (key) => results.reduce((total, { download }) => total + download[key], 0);
  const kept = results.every(({ download }) => download.kept);
  return { bytes: sum("bytes"), milliseconds: Math.max(sum("milliseconds"), 1), kept };
}

function showResults() {
  if (results.length === 0) return;
  const { bytes: count, milliseconds, kept } = measured();
  const megabits = Math.round((count * 8) / 1000 / milliseconds);
  at("link-measured").textContent =
    `${kept ? "none, a copy kept here" : "yours"}: ${bytes(count)} in ${time(milliseconds)}, ${megabits} Mbit/s`;
  at("layers-result").hidden = false;
  at("layers-tables").replaceChildren(...[...results].reverse().map(tableOf));
}

function tableOf(result) {
  const table = document.createElement("table");
  const { name, rows, cols, bytes: small, denseBytes, download, packMilliseconds } = result;
  const millions = ((rows * cols) / 1e6).toFixed(1);
  table.innerHTML = `<caption><h3>${name}</h3> <small>${cols} to ${rows}, ${millions} million weights</small></caption>
    <thead><tr><td></td><th scope="col" class="number">dense</th><th scope="col" class="number">compressed</th></tr></thead>`;
  row(table.createTBody(), "Download", SIZES, [denseBytes, small], bytes, ["not fetched", ""]);
  const own = document.querySelector("input[name=link]:checked").value === "measured";
  for (const { device, dense, compressed, refused } of result.devices) {
    const body = table.createTBody();
    body.innerHTML = `<tr><th scope="rowgroup" colspan="3">on the ${DEVICES[device]}</th></tr>`;
    const arrived = own ? download.milliseconds : small / speed();
    const first = [
      dense && denseBytes / speed() + dense.firstMilliseconds,
      arrived + packMilliseconds + compressed.firstMilliseconds,
    ];
    row(body, "First result", ["sooner", "later"], first, time, ["computed", own ? "measured" : "computed"], refused);
    row(body, "One run", ["faster", "slower"], [dense?.milliseconds, compressed.milliseconds], time, [], refused);
    row(body, "Memory", SIZES, [dense?.heldBytes, compressed.heldBytes], bytes, [], refused);
  }
  return table;
}

function row(body, name, words, values, spell, notes, refused) {
  const line = body.insertRow();
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  line.append(head);
  const largest = Math.max(...values.filter((value) => value !== undefined));
  values.forEach((value, index) => {
    const cell = line.insertCell();
    cell.className = index === 1 ? "number compressed" : "number";
    if (value === undefined) {
      cell.textContent = "–";
      cell.append(small(refused));
      return;
    }
    cell.textContent = spell(value);
    if (notes[index]) cell.append(small(notes[index]));
    const bar = document.createElement("span");
    bar.className = "bar";
    bar.style.width = `${Math.max((100 * value) / largest, 1)}%`;
    cell.append(bar);
  });
  const [dense, compressed] = values;
  if (dense !== undefined) head.append(small(comparison(dense / compressed, words)));
}

function comparison(ratio, [better, worse]) {
  if (ratio > 0.95 && ratio < 1.05) return "the same";
  return ratio >= 1 ? `${times(ratio)} ${better}` : `${times(1 / ratio)} ${worse}`;
}

function small(text) {
  const element = document.createElement("small");
  element.textContent = text;
  return element;
}
