// Numbers as pictures: shades of ink, and blue for what is above 0, orange for what is below.

const BLOCK = 10; // pixels of a unit
const GAP = 2; // pixels between units or feature maps

export const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const signed = (text) => new Int8Array(fromBase64(text).buffer);

function colours() {
  const style = getComputedStyle(document.documentElement);
  const rgb = (name) => style.getPropertyValue(name).trim().slice(1).match(/../g).map((two) => parseInt(two, 16));
  return { sheet: rgb("--sheet"), line: rgb("--line"), text: rgb("--text"), more: rgb("--more"), less: rgb("--less") };
}

function put(image, i, from, to, share) {
  for (let c = 0; c < 3; c++) image.data[4 * i + c] = from[c] + (to[c] - from[c]) * share;
  image.data[4 * i + 3] = 255;
}

export function blank(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

export function drawInk(canvas, pixels) {
  const { sheet, text } = colours();
  const image = new ImageData(canvas.width, canvas.height);
  pixels.forEach((level, i) => put(image, i, sheet, text, level / 255));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

export function drawReasons(canvas, reasons, ink) {
  const { sheet, text, more, less } = colours();
  const image = new ImageData(canvas.width, canvas.height);
  const mixed = (a, b, share) => a.map((each, c) => each + (b[c] - each) * share);
  signed(reasons.values).forEach((value, i) => {
    const ground = mixed(sheet, text, (ink[i] / 255) * 0.3);
    put(image, i, ground, value < 0 ? less : more, Math.abs(value) / 127);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// About so many columns that the last row is as full as can be.
function columns(count, wanted) {
  const empty = (n) => (n - (count % n)) % n;
  let best = Math.min(Math.ceil(wanted), count);
  for (let n = best; n <= Math.min(1.8 * wanted, count); n++) if (empty(n) < empty(best)) best = n;
  return best;
}

// Units (n) as blocks, feature maps (n, height, width) as pictures, row after row.
export function drawUnits(canvas, { shape, values }) {
  const { sheet, line, more, less } = colours();
  const [count, height, width] = shape.length === 3 ? shape : [shape[0], 1, 1];
  const enlarge = height * width === 1 ? BLOCK : 1;
  const across = columns(count, Math.sqrt(count * (shape.length === 3 ? 1.6 : 4)));
  const [stepX, stepY] = [width * enlarge + GAP, height * enlarge + GAP];
  canvas.width = across * stepX - GAP;
  canvas.height = Math.ceil(count / across) * stepY - GAP;
  const image = new ImageData(canvas.width, canvas.height);
  const numbers = signed(values);
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const [map, inX, inY] = [Math.floor(y / stepY) * across + Math.floor(x / stepX), x % stepX, y % stepY];
      if (map >= count || inX >= stepX - GAP || inY >= stepY - GAP) continue;
      const value = numbers[(map * height + Math.floor(inY / enlarge)) * width + Math.floor(inX / enlarge)];
      const ground = enlarge > 1 ? line : sheet;
      put(image, y * canvas.width + x, ground, value < 0 ? less : more, Math.abs(value) / 127);
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}
