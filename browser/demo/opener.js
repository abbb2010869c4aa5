// The section that opens a visitor's own file: its tensors in a table, and saved as safetensors or ONNX.

import { bytes, exactBytes, times } from "./numbers.js";
import { Task } from "./tasks.js";

const at = (id) => document.getElementById(id);

let task;
let stem = "";

/** Makes the section ready for files. */
export function start() {
  at("opener-file").disabled = false;
  at("opener-example").disabled = false;
  at("opener-file").onchange = ({ target }) => target.files[0] && show(target.files[0], target.files[0].name);
  at("opener-example").onclick = openExample;
  at("to-safetensors").onclick = () => save("toSafetensors", "safetensors");
  at("to-onnx").onclick = () => save("toOnnx", "onnx");
  listenToDrops();
}

// A file may be dropped anywhere: beside the zone, browsers would leave the page for it.
function listenToDrops() {
  const over = (is) => at("drop").classList.toggle("over", is);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  addEventListener("dragleave", () => over(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    const [file] = event.dataTransfer.files;
    if (!file) return;
    at("opener").scrollIntoView();
    show(file, file.name);
  });
}

async function openExample() {
  try {
    const response = await fetch("models/lenet-5.dcz");
    if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
    await show(await response.blob(), "lenet-5.dcz");
  } catch (error) {
    say(`lenet-5.dcz cannot be fetched. ${error.message}`, true);
  }
}

function say(message, bad = false) {
  at("opener-status").textContent = message;
  at("opener-status").classList.toggle("bad", bad);
}

async function show(blob, name) {
  task?.close();
  task = new Task("opener-worker.js");
  at("opener-result").hidden = true;
  say(`Opening ${name}.`);
  try {
    const { entries, metadata, model } = await task.call("open", { blob });
    stem = name.replace(/\.dcz$/i, "");
    showTable(entries);
    at("to-onnx").hidden = !model;
    at("opener-result").hidden = false;
    const dense = entries.reduce((sum, { denseBytes }) => sum + denseBytes, 0);
    const notes = metadata.length > 0 ? ` Its metadata has ${metadata.length} entries.` : "";
    const count = entries.length === 1 ? "one tensor" : `${entries.length} tensors`;
    const ratio = dense > blob.size ? `, ${times(dense / blob.size)} as much` : "";
    say(`${name} holds ${count} in ${exactBytes(blob.size)}. Decoded they take ${bytes(dense)}${ratio}.${notes}`);
  } catch (error) {
    if (error.code !== "aborted") say(`${name} cannot be opened. ${error.message}`, true);
  }
}

function showTable(entries) {
  const table = at("opener-table");
  table.innerHTML = `<thead><tr><th scope="col">tensor</th><th scope="col" class="number">in the file</th>
    <th scope="col" class="number">decoded</th></tr></thead>`;
  const body = table.createTBody();
  for (const { name, shape, dtype, coder, bytes: count, denseBytes, tiedTo } of entries) {
    const line = body.insertRow();
    const [head, about] = ["th", "small"].map((tag) => document.createElement(tag));
    head.scope = "row";
    about.textContent = `${shape.join(" x ") || "scalar"}, ${dtype}, ${coder}`;
    head.append(name, about);
    line.append(head);
    for (const text of [tiedTo === undefined ? bytes(count) : `as ${tiedTo}`, bytes(denseBytes)]) {
      const cell = line.insertCell();
      cell.textContent = text;
      cell.className = "number";
    }
  }
}

async function save(method, extension) {
  say(`Making ${stem}.${extension}.`);
  try {
    const { content } = await task.call("convert", { method });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content]));
    link.download = `${stem}.${extension}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say(`${link.download} has ${exactBytes(content.byteLength)}.`);
  } catch (error) {
    if (error.code !== "aborted") say(`${stem}.${extension} cannot be made. ${error.message}`, true);
  }
}
