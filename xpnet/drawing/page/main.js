// Asks for an answer while one draws, one at a time, and shows it.

import { Paper } from "./paper.js";
import { blank, drawInk, drawReasons, drawUnits, fromBase64 } from "./pictures.js";
import { language, percent, short, speak, whole, words } from "./words.js";

const POLL = 200; // milliseconds between questions after a network that is being trained
const QUIET = 600; // milliseconds without a change after which an answer is spoken
const SURE = 0.5;

const at = (id) => document.getElementById(id);
let state = { phase: "preparing" };
let answer = null; // the last one, of what is on the paper
let chosen = null; // the class to be explained, if it is not the answer
let sample = null; // the digit of MNIST on the paper
let again = false; // whether there is something newer to ask for
let speaking = 0;

const paper = new Paper(at("paper"), changed, (word) => say(words[word]));

function changed() {
  at("undo").disabled = at("clear").disabled = paper.isEmpty;
  at("invitation").hidden = !paper.isEmpty;
  if (paper.items[0]?.pixels === undefined) sample = null;
  ask();
}

async function ask() {
  again = true;
  const { dataset } = document.body;
  if (dataset.busy === "true") return; // the answer that is on its way comes first, then one for the latest drawing
  dataset.busy = "true";
  while (again) {
    again = false;
    const found = paper.isEmpty || state.phase !== "ready" ? null : await fetched(question(), {
      method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: paper.bytes(),
    });
    answer = paper.isEmpty ? null : found;
    show();
  }
  dataset.busy = "false";
}

function question() {
  const asked = new URLSearchParams();
  if (at("layer").value) asked.set("layer", at("layer").value);
  if (at("why").checked) asked.set("reasons", chosen ?? -1);
  return `answer?${asked}`;
}

// What the server says, or null, and then it is told why.
async function fetched(path, options) {
  try {
    const response = await fetch(path, options);
    const content = await response.json();
    tell(response.ok ? "" : words.refused(content.error));
    return response.ok ? content : null;
  } catch {
    tell(words.lost);
    return null;
  }
}

function tell(text) {
  if (at("trouble").textContent !== text) at("trouble").textContent = text;
  at("trouble").hidden = !text;
}

function say(text) {
  clearTimeout(speaking);
  at("spoken").textContent = text;
}

function show() {
  const label = at("source");
  label.textContent = sample ? words.source(whole(sample.number), sample.label) : "";
  const best = at("best");
  const found = answer;
  best.textContent = found ? found.answer : "–";
  best.classList.toggle("none", !found);
  best.classList.toggle("unsure", found?.probabilities[found.answer] < SURE);
  best.classList.toggle("long", found?.answer > 9);
  [...at("bars").children].forEach((bar, i) => {
    const share = found ? found.probabilities[i] : 0;
    bar.disabled = !found;
    bar.classList.toggle("best", found?.answer === i);
    bar.querySelector(".bar").style.transform = `scaleX(${share})`;
    bar.lastChild.textContent = found ? percent(share) : "";
    bar.setAttribute("aria-label", found ? `${i}: ${percent(share)}` : `${i}`);
    bar.setAttribute("aria-pressed", String(found?.reasons?.class === i));
  });
  showPictures(found);
  clearTimeout(speaking);
  speaking = setTimeout(() => say(found ? words.spoken(found.answer, percent(found.probabilities[found.answer])) : ""), QUIET);
}

function showPictures(found) {
  const ink = found ? fromBase64(found.seen) : null;
  if (found) drawInk(at("seen"), ink);
  else blank(at("seen"));
  if (found?.reasons) drawReasons(at("reasons"), found.reasons, ink);
  else blank(at("reasons"));
  at("reasons-note").textContent = found?.reasons ? words.reasonsNote(found.reasons.class) : words.reasonsOff;
  const layer = found?.layer;
  at("units").hidden = !layer;
  at("units-note").textContent = state.layers?.length === 0 ? words.nothingInside : "";
  if (!layer) return;
  drawUnits(at("units"), layer);
  const what = layer.shape.length === 3 ? words.maps(layer.shape[0], layer.of) : words.units(layer.shape[0], layer.of);
  at("units-note").textContent = words.behind(what, layer.name, short(layer.largest));
  at("units").setAttribute("aria-label", at("units-note").textContent);
}

function showState() {
  const { phase, network, steps = 0, goal, left, accuracy, error } = state;
  at("network").textContent = network ?? "";
  at("preparing").hidden = phase !== "preparing";
  for (const id of ["answer", "pictures", "inside"]) at(id).hidden = phase !== "ready";
  document.querySelector("main").hidden = phase === "failed";
  if (goal) at("progress").value = steps / goal;
  at("steps").textContent = goal ? progress(steps, goal, left, accuracy) : "";
  if (phase === "failed") tell(words.failed(error));
}

function progress(steps, goal, left, accuracy) {
  const parts = [words.steps(whole(steps), whole(goal))];
  if (accuracy) parts.push(words.read(percent(accuracy)));
  if (left > 1) parts.push(left < 90 ? words.seconds(whole(Math.ceil(left))) : words.minutes(whole(Math.ceil(left / 60))));
  return parts.join(words.comma);
}

function ready() {
  at("bars").classList.toggle("many", state.classes > 16);
  at("bars").replaceChildren(...Array.from({ length: state.classes }, (_, i) => bar(i)));
  at("layer").replaceChildren(...state.layers.map(({ name }) => new Option(name, name)));
  at("layer").hidden = state.layers.length < 2;
}

function bar(i) {
  const button = document.createElement("button");
  button.type = "button";
  const [name, track, filled, share] = ["span", "span", "span", "span"].map((kind) => document.createElement(kind));
  name.textContent = i;
  track.className = "track";
  filled.className = "bar";
  track.append(filled);
  button.append(name, track, share);
  button.addEventListener("click", () => {
    const shown = at("why").checked && answer?.reasons?.class === i;
    chosen = shown ? null : i;
    at("why").checked = !shown;
    ask();
  });
  return button;
}

async function watch() {
  for (;;) {
    const found = await fetched("state");
    if (found) state = found;
    if (state.phase === "ready") ready();
    showState();
    if (state.phase !== "preparing") break;
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
  ask();
}

async function take(label) {
  const after = sample?.label === label ? sample.number : -1;
  const found = await fetched(`sample?label=${label}&after=${after}`);
  if (!found) return;
  sample = found;
  paper.show(fromBase64(found.pixels));
}

function inLanguage(each) {
  speak(each);
  for (const button of at("samples").children) button.setAttribute("aria-label", words.sample(button.textContent));
  showState();
  show();
}

for (let label = 0; label < 10; label++) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.addEventListener("click", () => take(label));
  at("samples").append(button);
}
for (const tool of ["undo", "clear"]) {
  at(tool).addEventListener("click", () => {
    paper[tool]();
    if (!paper.isEmpty) return;
    at("paper").focus(); // the buttons are disabled now, and would lose the focus to nobody
    say(words.cleared);
  });
}
at("why").addEventListener("change", () => {
  chosen = null;
  ask();
});
at("layer").addEventListener("change", ask);
at("paper").addEventListener("keydown", (event) => {
  if (/^[0-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) take(Number(event.key));
});
document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey) {
    event.preventDefault();
    paper.undo();
  }
});
for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => inLanguage(button.dataset.language));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  paper.draw();
  show();
});
inLanguage(language);
paper.draw();
watch();
