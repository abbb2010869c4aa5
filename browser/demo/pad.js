// The drawing area: a pen for pointers, fingers and keys. The canvas holds ink as opaqueness.

const PEN = 0.075; // of the width
const STEP = 0.036; // of the width, a press of an arrow key
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Draws on a canvas. `onchange({spoken})` is called after each change; spoken: a stroke or command is complete. */
export class Pad {
  onchange = async () => {};
  #canvas;
  #context;
  #cursor;
  #waiting = false;
  // the pen of the keys
  #x;
  #y;
  #down = false;
  // whether the page drew what is there: the first stroke of a visitor then takes its place
  #example = false;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
    this.#x = canvas.width / 2;
    this.#y = canvas.height / 4;
    this.#cursor = document.createElement("span");
    this.#cursor.className = "pen";
    this.#cursor.hidden = true;
    canvas.after(this.#cursor);
    canvas.tabIndex = 0;
    // so that screen readers hand the arrow keys on
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", "Drawing area");
    canvas.setAttribute("aria-describedby", "pad-help");
    this.#listenToPointers();
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => {
      this.#cursor.hidden = true;
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#recolour());
  }

  get width() {
    return this.#canvas.width;
  }

  get height() {
    return this.#canvas.height;
  }

  /** One value for each pixel, 0 (paper) to 255. */
  ink() {
    const { data } = this.#context.getImageData(0, 0, this.width, this.height);
    return Uint8Array.from({ length: data.length / 4 }, (_, index) => data[4 * index + 3]);
  }

  clear() {
    this.#wipe();
    return this.onchange({ spoken: true });
  }

  /** Draws one smooth stroke; `points` are pairs of parts of the width and height. */
  draw(points) {
    const context = this.#context;
    const [first, ...rest] = points.map(([x, y]) => [x * this.width, y * this.height]);
    this.#takePen();
    context.beginPath();
    context.moveTo(...first);
    rest.forEach(([x, y], index) => {
      const [nextX, nextY] = rest[index + 1] ?? [x, y];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    });
    context.stroke();
    this.#example = true;
    return this.onchange({ spoken: false });
  }

  /** Paints an image of `side` x `side` inks over everything, each of them as a square. */
  paint(image, side, spoken) {
    this.#wipe();
    const [wide, high] = [this.width / side, this.height / side];
    this.#context.fillStyle = this.#colour();
    image.forEach((ink, index) => {
      this.#context.globalAlpha = ink / 255;
      this.#context.fillRect((index % side) * wide, Math.floor(index / side) * high, wide, high);
    });
    this.#context.globalAlpha = 1;
    this.#example = true;
    return this.onchange({ spoken });
  }

  #listenToPointers() {
    const canvas = this.#canvas;
    let last;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || last) return;
      canvas.setPointerCapture(event.pointerId);
      last = { id: event.pointerId, ...this.#place(event) };
      this.#begin(last);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== last?.id) return;
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length > 0 ? events : [event]) {
        const next = this.#place(each);
        this.#line(last, next);
        last = { id: last.id, ...next };
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => {
        if (event.pointerId !== last?.id) return;
        last = undefined;
        this.onchange({ spoken: true });
      });
    }
  }

  #place({ clientX, clientY }) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    return { x: ((clientX - left) / width) * this.width, y: ((clientY - top) / height) * this.height };
  }

  #wipe() {
    this.#context.clearRect(0, 0, this.width, this.height);
    this.#example = false;
  }

  // A stroke begins with a dot.
  #begin(place) {
    if (this.#example) this.#wipe();
    this.#line(place, place);
  }

  #line(from, to) {
    const context = this.#context;
    this.#takePen();
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y + (from === to ? 0.01 : 0));
    context.stroke();
    this.#changedSoon();
  }

  #takePen() {
    const context = this.#context;
    context.strokeStyle = this.#colour();
    context.lineWidth = PEN * this.width;
    context.lineCap = context.lineJoin = "round";
  }

  // Reads at most once a frame while the pen moves.
  #changedSoon() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.onchange({ spoken: false });
    });
  }

  #key(event) {
    const arrow = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrow) this.#move(arrow);
    else if (event.key === " ") this.#press();
    else if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else return;
    event.preventDefault();
    this.#showCursor();
  }

  #move([right, below]) {
    const from = { x: this.#x, y: this.#y };
    this.#x = Math.min(Math.max(this.#x + right * STEP * this.width, 0), this.width);
    this.#y = Math.min(Math.max(this.#y + below * STEP * this.height, 0), this.height);
    if (this.#down) this.#line(from, { x: this.#x, y: this.#y });
  }

  #press() {
    this.#down = !this.#down;
    if (this.#down) this.#begin({ x: this.#x, y: this.#y });
    else this.onchange({ spoken: true });
  }

  #showCursor() {
    this.#cursor.hidden = false;
    this.#cursor.classList.toggle("down", this.#down);
    const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = this.#canvas;
    this.#cursor.style.left = `${offsetLeft + (this.#x / this.width) * offsetWidth}px`;
    this.#cursor.style.top = `${offsetTop + (this.#y / this.height) * offsetHeight}px`;
  }

  #colour() {
    return getComputedStyle(this.#canvas).color;
  }

  #recolour() {
    const context = this.#context;
    context.globalCompositeOperation = "source-in";
    context.fillStyle = this.#colour();
    context.fillRect(0, 0, this.width, this.height);
    context.globalCompositeOperation = "source-over";
  }
}
