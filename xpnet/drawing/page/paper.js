// The paper: strokes of mouse, pen, finger and keys, and digits of MNIST; what is drawn last can be undone.

const SIDE = 280; // of the paper in its own units, and of the picture that is sent in pixels
const DIGIT = 28;
const PEN = 22;
const STEP = 10; // of the pen that keys move

export class Paper {
  // `changed` is called when something is drawn or goes; `said` with what a reader of the screen should hear.
  constructor(canvas, changed, said) {
    this.canvas = canvas;
    this.changed = changed;
    this.said = said;
    this.items = []; // strokes, {points}, and digits, {pixels}
    this.keys = { x: SIDE / 2, y: SIDE / 2, down: false, seen: false };
    this.pointer = null;
    const sent = document.createElement("canvas");
    sent.width = sent.height = SIDE;
    this.sent = sent.getContext("2d", { willReadFrequently: true });
    this.listen();
  }

  get isEmpty() {
    return this.items.length === 0;
  }

  undo() {
    this.have(this.items.slice(0, -1));
  }

  clear() {
    this.have([]);
  }

  show(pixels) { // a digit of MNIST, in the place of what is there
    this.have([{ pixels }]);
  }

  have(items) { // a stroke that is not at its end ends here
    this.items = items;
    this.pointer = null;
    this.keys.down = false;
    this.refresh();
  }

  // How much ink there is in each pixel, 0 to 255; a digit of MNIST that nobody has drawn on as it is.
  bytes() {
    if (this.items.length === 1 && this.items[0].pixels) return this.items[0].pixels;
    this.sent.clearRect(0, 0, SIDE, SIDE);
    this.paint(this.sent, "#ffffff");
    return this.sent.getImageData(0, 0, SIDE, SIDE).data.filter((_, i) => i % 4 === 3);
  }

  refresh() {
    this.draw();
    this.changed();
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.scale(this.canvas.width / SIDE, this.canvas.height / SIDE);
    this.paint(context, style.color);
    if (!this.keys.seen) return;
    context.strokeStyle = style.getPropertyValue("--more");
    context.lineWidth = 2;
    context.beginPath();
    context.arc(this.keys.x, this.keys.y, PEN / 2 + 3, 0, 2 * Math.PI);
    context.setLineDash(this.keys.down ? [] : [5, 4]);
    context.stroke();
    context.setLineDash([]);
  }

  paint(context, ink) {
    context.strokeStyle = context.fillStyle = ink;
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    for (const item of this.items) {
      if (item.pixels) {
        context.drawImage(enlarged(item.pixels, ink), 0, 0, SIDE, SIDE);
        continue;
      }
      context.beginPath();
      const [first, ...rest] = item.points;
      context.moveTo(first.x, first.y);
      for (const point of rest.length ? rest : [first]) context.lineTo(point.x, point.y);
      context.stroke();
    }
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => {
      if (this.pointer !== null || event.button !== 0) return; // a second finger, or another button
      canvas.setPointerCapture(event.pointerId);
      this.pointer = event.pointerId;
      this.keys.seen = this.keys.down = false;
      this.items.push({ points: [this.place(event)] });
      this.refresh();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== this.pointer) return;
      const moves = event.getCoalescedEvents?.() ?? [];
      this.items.at(-1).points.push(...(moves.length ? moves : [event]).map((move) => this.place(move)));
      this.refresh();
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(end, (event) => {
        if (event.pointerId === this.pointer) this.pointer = null;
      });
    }
    canvas.addEventListener("keydown", (event) => this.pressed(event));
    canvas.addEventListener("focus", () => this.look(canvas.matches(":focus-visible")));
    canvas.addEventListener("blur", () => this.look(false));
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * SIDE, y: ((event.clientY - box.top) / box.height) * SIDE };
  }

  look(seen) {
    this.keys.seen = seen;
    this.draw();
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const pen = this.keys;
    if (event.key in moves) {
      const [x, y] = moves[event.key];
      pen.x = Math.min(Math.max(pen.x + x * STEP, 0), SIDE);
      pen.y = Math.min(Math.max(pen.y + y * STEP, 0), SIDE);
      if (pen.down) this.items.at(-1).points.push({ x: pen.x, y: pen.y });
    } else if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) this.items.push({ points: [{ x: pen.x, y: pen.y }] });
      this.said(pen.down ? "penDown" : "penUp");
    } else if (event.key === "Backspace") {
      this.undo();
    } else if (event.key === "Delete") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
    pen.seen = true;
    this.refresh();
  }
}

// A digit of MNIST as an image in the colour of the ink.
function enlarged(pixels, ink) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = DIGIT;
  const context = canvas.getContext("2d");
  context.fillStyle = ink;
  context.fillRect(0, 0, DIGIT, DIGIT);
  const image = context.getImageData(0, 0, DIGIT, DIGIT);
  pixels.forEach((level, i) => (image.data[4 * i + 3] = level));
  context.putImageData(image, 0, 0);
  return canvas;
}
