// The section that reads text: a .dcz file becomes an ONNX model for ONNX Runtime Web, in a worker.

import { bytes, exactBytes, time, times } from "./numbers.js";
import { Status } from "./status.js";
import { Task } from "./tasks.js";

const HEIGHT = 64;
const LARGEST_WIDTH = 1024;
const at = (id) => document.getElementById(id);
const status = new Status("reader");

let task;
let about;

/** Makes the section ready for its button; a site without the model says so. */
export function start() {
  if (at("reader").dataset.missing !== undefined) {
    status.say("This copy of the site was assembled without the model.");
    return;
  }
  at("reader-start").disabled = false;
  at("reader-start").onclick = load;
  at("reader-cancel").onclick = () => task?.close();
  at("reader-file").onchange = ({ target }) => target.files[0] && readFile(target.files[0]);
}

async function load() {
  status.begin();
  task = new Task("reader-worker.js");
  try {
    const loaded = await task.call("load", {}, ({ stage, part }) => status.progress(stage, part));
    about = loaded.about;
    showPictures();
    showFigures(loaded);
    await readPicture(about.pictures[0]);
    at("reader-result").hidden = false;
    at("reader-start").hidden = true;
    if (document.activeElement === at("reader-cancel")) at("reader-pictures").firstElementChild.focus();
  } catch (error) {
    task.close();
    status.failed(error);
  }
  status.end();
}

function showPictures() {
  at("reader-pictures").replaceChildren(
    ...about.pictures.map((picture, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      const image = new Image();
      image.src = `models/${picture.file}`;
      image.alt = `Picture ${index + 1}`;
      button.append(image);
      button.onclick = () => readPicture(picture).catch((error) => status.say(error.message, true));
      return button;
    }),
  );
}

function showFigures({ modelMilliseconds, sessionMilliseconds, runtimeBytes }) {
  const { onnx_bytes: onnx, dcz_bytes: dcz } = about;
  const figures = [
    ["the .dcz file", bytes(dcz), exactBytes(dcz)],
    ["the .onnx file, not fetched", bytes(onnx), `${times(onnx / dcz)} as much`],
    [
      "the .dcz file, fetched and made into ONNX",
      time(modelMilliseconds),
      `then started in ${time(sessionMilliseconds)}`,
    ],
    ["ONNX Runtime Web itself", bytes(runtimeBytes), "uncompressed"],
  ];
  at("reader-figures").replaceChildren(
    ...figures.map(([name, value, note]) => {
      const figure = document.createElement("div");
      const [term, description, small] = ["dt", "dd", "small"].map((tag) => document.createElement(tag));
      term.textContent = name;
      description.textContent = value;
      small.textContent = note;
      description.append(small);
      figure.append(term, description);
      return figure;
    }),
  );
}

async function readPicture(picture) {
  for (const [index, button] of [...at("reader-pictures").children].entries()) {
    button.setAttribute("aria-pressed", String(about.pictures[index] === picture));
  }
  const response = await fetch(`models/${picture.file}`);
  if (!response.ok) throw new Error(`${picture.file} is missing on the server (${response.status}).`);
  await read(await createImageBitmap(await response.blob()));
}

async function readFile(file) {
  for (const button of at("reader-pictures").children) button.setAttribute("aria-pressed", "false");
  try {
    await read(await createImageBitmap(file));
  } catch (error) {
    const known = error.code !== undefined && typeof error.code === "string";
    status.say(
      known ? error.message : `${file.name} is no picture that this browser can show. Choose a PNG or JPEG.`,
      true,
    );
  }
}

// Scaled to the network's height; grey, 0 black to 1 white.
async function read(image) {
  const width = Math.min(Math.max(Math.round((image.width * HEIGHT) / image.height), 16), LARGEST_WIDTH);
  const canvas = at("reader-picture");
  canvas.width = width;
  canvas.height = HEIGHT;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  // transparent pictures lie on white
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, HEIGHT);
  context.drawImage(image, 0, 0, width, HEIGHT);
  const { data } = context.getImageData(0, 0, width, HEIGHT);
  const grey = Float32Array.from(
    { length: width * HEIGHT },
    (_, index) => (0.299 * data[4 * index] + 0.587 * data[4 * index + 1] + 0.114 * data[4 * index + 2]) / 255,
  );
  const { text, milliseconds } = await task.call("read", { grey, width, height: HEIGHT });
  at("reader-text").textContent = text || "nothing";
  status.say(`Read in ${time(milliseconds)}.`);
}
