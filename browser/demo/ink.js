// From a drawing to the 28 x 28 pixels that LeNet-5 was trained on: ink scaled to 20 x 20, centred by its mass.

const SIDE = 28;
const BOX = 20;
// of MNIST's training pixels, as the network was trained with them
const MEAN = 0.1307;
const DEVIATION = 0.3081;

/**
 * The ink of a drawing as MNIST's own digits are made: the box around it is scaled so that its longer side takes 20
 * pixels, each of them the mean of the area under it; then its centre of mass is moved to the middle of 28 x 28.
 * `ink` has `width * height` values from 0 (paper) to 255. Returns 784 values from 0 to 255; undefined without ink.
 */
export function toMnist(ink, width, height) {
  const box = boxAround(ink, width, height);
  if (!box) return undefined;
  const scale = BOX / Math.max(box.width, box.height);
  const columns = Math.max(1, Math.round(box.width * scale));
  const rows = Math.max(1, Math.round(box.height * scale));
  const small = new Float32Array(columns * rows);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const left = box.left + (x * box.width) / columns;
      const top = box.top + (y * box.height) / rows;
      small[y * columns + x] = mean(ink, width, left, top, box.width / columns, box.height / rows);
    }
  }
  return centred(small, columns, rows);
}

/** MNIST's pixels (0 to 255) as the network's input. */
export function normalised(pixels) {
  return Float32Array.from(pixels, (value) => (value / 255 - MEAN) / DEVIATION);
}

/** Probabilities from a network's last outputs. */
export function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (value) => Math.exp(value - largest));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / sum);
}

function boxAround(ink, width, height) {
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (ink[y * width + x] === 0) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = y;
    }
  }
  return right < 0 ? undefined : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

// The mean of a rectangle, whose borders may cut through pixels.
function mean(ink, width, left, top, wide, high) {
  let sum = 0;
  for (let y = Math.floor(top); y < top + high - 1e-9; y++) {
    const part = Math.min(y + 1, top + high) - Math.max(y, top);
    for (let x = Math.floor(left); x < left + wide - 1e-9; x++) {
      sum += ink[y * width + x] * part * (Math.min(x + 1, left + wide) - Math.max(x, left));
    }
  }
  return sum / (wide * high);
}

function centred(small, columns, rows) {
  let [mass, acrossMass, downMass] = [0, 0, 0];
  small.forEach((value, index) => {
    mass += value;
    acrossMass += value * (index % columns);
    downMass += value * Math.floor(index / columns);
  });
  // the centre of mass of every MNIST image lies within half a pixel of column and row 14
  const right = clamp(Math.round(SIDE / 2 - acrossMass / mass), SIDE - columns);
  const down = clamp(Math.round(SIDE / 2 - downMass / mass), SIDE - rows);
  const pixels = new Uint8ClampedArray(SIDE * SIDE);
  small.forEach((value, index) => {
    pixels[(down + Math.floor(index / columns)) * SIDE + right + (index % columns)] = value;
  });
  return pixels;
}

function clamp(value, largest) {
  return Math.min(Math.max(value, 0), largest);
}
