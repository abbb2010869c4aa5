// Digits: drawn by hand or picked, read by LeNet-5, shown as probabilities.

import { conv2d, flatten, linear, maxPool2d, open, relu, Sequence } from "../dist/index.js";
import { normalised, softmax, toMnist } from "./ink.js";
import { bytes, exactBytes, median, percent, time } from "./numbers.js";
import { Pad } from "./pad.js";
import { loadedBytes } from "./wire.js";

const LAYERS = [
  conv2d("conv1"),
  maxPool2d(2),
  conv2d("conv2"),
  maxPool2d(2),
  flatten(),
  linear("fc1"),
  relu(),
  linear("fc2"),
];
// a first digit, as a visitor would draw it: points as parts of the drawing area
const FIRST = [
  [0.31, 0.27],
  [0.42, 0.17],
  [0.57, 0.16],
  [0.66, 0.26],
  [0.63, 0.38],
  [0.47, 0.46],
  [0.62, 0.5],
  [0.7, 0.62],
  [0.66, 0.76],
  [0.52, 0.84],
  [0.38, 0.82],
  [0.29, 0.73],
];
const SIDE = 28;

const at = (id) => document.getElementById(id);

/** Loads the network, reads a first example, and reads whatever is drawn from then on. */
export async function startDigits() {
  const bars = makeBars();
  const pad = new Pad(at("pad"));
  at("clear").onclick = () => pad.clear();
  await pad.draw(FIRST);
  const file = await open("models/lenet-5.dcz");
  const net = await Sequence.load(file, LAYERS, { inputShape: [1, SIDE, SIDE], device: "wasm" });
  file.close();
  at("network-bytes").textContent = exactBytes(file.bytes);
  const sum = (key) => net.explain().reduce((total, layer) => total + layer[key], 0);
  at("memory").textContent = bytes(sum("heldBytes"));
  at("memory-dense").textContent = `${bytes(sum("denseBytes"))} if dense`;

  const latest = [];
  let newest = 0;
  pad.onchange = async ({ spoken }) => {
    const turn = ++newest;
    const pixels = toMnist(pad.ink(), pad.width, pad.height);
    showSeen(pixels);
    if (!pixels) return show(bars, undefined, spoken);
    const began = performance.now();
    const probabilities = softmax(await net.run(normalised(pixels)));
    latest.push(performance.now() - began);
    if (turn !== newest) return;
    show(bars, probabilities, spoken);
    at("run-time").textContent = time(median(latest.slice(-21)));
  };
  // the first example, or what the visitor has drawn meanwhile
  await pad.onchange({ spoken: false });
  at("first-time").textContent = time(performance.now());
  at("page-bytes").textContent = bytes(loadedBytes());
  showExamples(await loadExamples(), pad);
}

function makeBars() {
  return Array.from({ length: 10 }, (_, digit) => {
    const bar = document.createElement("li");
    const track = '<span class="track"><span class="fill"></span></span>';
    bar.innerHTML = `${track}<span class="name">${digit}<span class="unseen"></span></span>`;
    at("bars").append(bar);
    return bar;
  });
}

function show(bars, probabilities, spoken) {
  const best = probabilities?.indexOf(Math.max(...probabilities));
  bars.forEach((bar, digit) => {
    const part = probabilities?.[digit] ?? 0;
    bar.classList.toggle("best", digit === best);
    bar.querySelector(".fill").style.transform = `scaleY(${part})`;
    bar.querySelector(".unseen").textContent = `: ${percent(part)}`;
    bar.title = percent(part);
  });
  const certainty = probabilities ? percent(probabilities[best]) : "";
  at("digit").textContent = best ?? "\u00a0";
  at("certainty").textContent = probabilities ? `${certainty} sure` : "Draw something.";
  if (spoken) at("spoken").textContent = probabilities ? `LeNet-5 reads ${best}, ${certainty} sure.` : "Cleared.";
}

function showSeen(pixels) {
  const image = new ImageData(SIDE, SIDE);
  for (let index = 0; index < SIDE * SIDE; index++) {
    image.data.fill(pixels?.[index] ?? 0, 4 * index, 4 * index + 3);
    image.data[4 * index + 3] = 255;
  }
  at("seen").getContext("2d").putImageData(image, 0, 0);
}

// Ten digits of 28 x 28 bytes, 0 to 9.
async function loadExamples() {
  const response = await fetch("examples.bin");
  if (!response.ok) throw new Error(`The example digits are missing on the server (${response.status}).`);
  const all = new Uint8Array(await response.arrayBuffer());
  return Array.from({ length: 10 }, (_, digit) => all.subarray(digit * SIDE * SIDE, (digit + 1) * SIDE * SIDE));
}

function showExamples(images, pad) {
  images.forEach((image, digit) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "example";
    button.setAttribute("aria-label", `Example of a ${digit}`);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    button.append(canvas);
    button.onclick = () => pad.paint(image, SIDE, true);
    at("examples").append(button);
    paintAlpha(canvas, image);
  });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => {
    document.querySelectorAll(".example canvas").forEach((canvas, digit) => {
      paintAlpha(canvas, images[digit]);
    });
  });
}

// The ink in the colour of the text, as transparent as the paper shows through.
function paintAlpha(canvas, image) {
  const [red, green, blue] = getComputedStyle(canvas).color.match(/\d+/g).map(Number);
  const pixels = new ImageData(SIDE, SIDE);
  image.forEach((ink, index) => {
    pixels.data.set([red, green, blue, ink], 4 * index);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
