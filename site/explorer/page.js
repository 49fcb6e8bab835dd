// The page: what is chosen, and what is shown of the answers.
import { clutter, DIGIT } from "./clutter.js";
import { entropyOf, fineModel, firstLook, MAP, refine, SIDE, untilSure } from "./network.js";
import { prepare, read, toDigit } from "./pictures.js";

const at = (id) => document.getElementById(id);
const argmax = (values) => values.indexOf(Math.max(...values));
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const millions = (count) => `${(count / 1e6).toFixed(1)} million`;
const bytes = async (name) => new Uint8Array(await (await fetch(new URL(name, import.meta.url))).arrayBuffer());

let data; // labels, indices and costs; images and digits as bytes
let shown = null; // the image at hand: pixels, truth or null, notes, digit or null
let latest = 0; // an answer that comes late is not shown

/** Show a picture of a side of `side` pixels, given as levels 0..255, on a canvas. */
function paint(canvas, levels, side, color) {
  const small = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const image = new ImageData(side, side);
  levels.forEach((level, i) => image.data.set([...color(level), 255], 4 * i));
  small.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  return context;
}

const asGrey = (level) => [level, level, level];
const asHeat = (level) => [level, Math.max(0, 2 * level - 255), Math.round(0.4 * (255 - level) * (level / 255))];

function boxesOf(look, k) {
  return Array.from({ length: k }, (_, i) => look.boxes.slice(4 * i, 4 * i + 4));
}

function showPicture(pixels, look, k) {
  const canvas = at("picture");
  const context = paint(canvas, Array.from(pixels, (pixel) => 255 * pixel), SIDE, asGrey);
  const scale = canvas.width / SIDE;
  const outline = ([top, left, bottom, right], width, color) => {
    context.lineWidth = width;
    context.strokeStyle = color;
    context.strokeRect(scale * left, scale * top, scale * (right - left), scale * (bottom - top));
  };
  const boxes = boxesOf(look, k);
  for (const box of boxes) outline(box, 2, "#e69f00");
  if (k) outline(boxes[0], 5, "#d55e00"); // over the others
  canvas.setAttribute("aria-label", `The image, with ${k} patches outlined, the most salient one thicker`);

  const most = Math.max(...look.saliency) || 1;
  paint(at("saliency"), Array.from(look.saliency, (value) => (255 * value) / most), MAP, asHeat);
  const strongest = look.saliency.indexOf(Math.max(...look.saliency));
  const place = `row ${Math.floor(strongest / MAP) + 1}, column ${(strongest % MAP) + 1} of ${MAP}`;
  at("saliency").setAttribute("aria-label", `Saliency of each cell; the most salient one is in ${place}`);

  const tiles = boxesOf(look, k).map(([top, left, bottom, right]) => {
    const side = bottom - top;
    const levels = [];
    for (let y = top; y < bottom; y++)
      for (let x = left; x < right; x++)
        levels.push(x < 0 || y < 0 || x >= SIDE || y >= SIDE ? 0 : 255 * pixels[y * SIDE + x]);
    const tile = Object.assign(document.createElement("canvas"), { width: side, height: side });
    paint(tile, levels, side, asGrey);
    return tile;
  });
  at("patches").replaceChildren(...(k ? tiles : ["None: k is 0."]));
}

function showPredictions(column, color, probabilities) {
  const most = argmax(probabilities);
  probabilities.forEach((share, digit) => {
    const cell = at("predictions").tBodies[0].rows[digit].cells[column];
    cell.textContent = percent(share);
    cell.style.setProperty("--share", `${100 * share}%`);
    cell.style.setProperty("--bar", `var(--${color})`);
    cell.classList.toggle("most", digit === most);
  });
}

/** The answers for the image at hand. A new k needs no new first look. */
async function answer() {
  const request = ++latest;
  const { pixels, truth, notes } = shown;
  const [sure, below, asked] = [at("sure").checked, Number(at("below").value), Number(at("k").value)];
  if (!sure) at("k-shown").textContent = asked;
  shown.look ??= await firstLook(pixels);
  const look = shown.look;
  const after = sure ? await untilSure(look, below, data.rounds) : { k: asked, ...(await refine(look, asked)) };
  if (request !== latest) return;
  const { k } = after;
  at("k").value = k;
  at("k-shown").textContent = k;
  showPicture(pixels, look, k);
  showPredictions(1, "before", look.probabilities);
  showPredictions(2, "after", after.probabilities);
  const [first, last] = [argmax(look.probabilities), argmax(after.probabilities)];
  const verdict = truth === null ? "" : last === truth ? ` Right: it is a ${truth}.` : ` Wrong: it is a ${truth}.`;
  at("verdict").textContent =
    `Before the closer look: ${first} (${percent(look.probabilities[first])}). ` +
    `After ${k} patch${k === 1 ? "" : "es"}: ${last} (${percent(after.probabilities[last])}).${verdict}`;
  const doubt = entropyOf(after.probabilities);
  const told = sure ? [`${doubt < below ? "sure" : "still in doubt"}: ${doubt.toFixed(3)} nats`] : [];
  at("notes").textContent = [...notes, ...told].join("; ");
  const cost = sure ? data.roundCosts[[0, ...data.rounds].indexOf(k)] : data.costs[k];
  const share = percent(cost / data.fineCost);
  at("cost").textContent =
    `Cost: ${millions(cost)} multiplications, ${share} of the fine model's ${millions(data.fineCost)}. ` +
    `Time in this browser: ${(look.milliseconds + after.milliseconds).toFixed(1)} ms.`;
  document.documentElement.dataset.answered = request;
  await compare(request);
}

/** The fine model, once an image, after the answer stands. */
async function compare(request) {
  const image = shown;
  image.fine ??= await fineModel(image.pixels);
  if (request !== latest) return;
  showPredictions(3, "fine", image.fine.probabilities);
  const digit = argmax(image.fine.probabilities);
  at("fine").textContent =
    `The fine model, which looks closely everywhere: ${digit} (${percent(image.fine.probabilities[digit])}), ` +
    `${image.fine.milliseconds.toFixed(1)} ms.`;
}

function show(image) {
  shown = { truth: null, notes: [], digit: null, ...image };
  at("again").disabled = shown.digit === null;
  return answer().catch(report);
}

function report(error) {
  at("alert").textContent = error.message;
  at("alert").hidden = false;
}

function chooseImage(number) {
  const size = SIDE * SIDE;
  const pixels = Float32Array.from(data.images.subarray(number * size, (number + 1) * size), (level) => level / 255);
  return show({ pixels, truth: data.labels[number], digit: digitNumber(number) });
}

const digitNumber = (number) => data.digits.subarray(number * DIGIT * DIGIT, (number + 1) * DIGIT * DIGIT);

function inClutter(digit, truth) {
  return show({ pixels: clutter(digit, data.digits), truth, digit, notes: ["fresh clutter"] });
}

function listenToDrawing() {
  const canvas = at("draw");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const clear = () => {
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
  };
  clear();
  Object.assign(context, { strokeStyle: "#fff", lineWidth: 18, lineCap: "round", lineJoin: "round" });
  let from = null;
  const draw = (event) => {
    if (from === null) return;
    const to = [event.offsetX, event.offsetY];
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    from = to;
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    from = [event.offsetX, event.offsetY];
    draw(event);
  });
  canvas.addEventListener("pointermove", draw);
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (from = null));
  at("clear").addEventListener("click", clear);
  at("use").addEventListener("click", () => {
    const digit = toDigit(context.getImageData(0, 0, canvas.width, canvas.height));
    if (digit === null) return report(new Error("Nothing is drawn yet: draw a digit with the mouse or a finger."));
    at("alert").hidden = true;
    inClutter(digit, null);
  });
}

async function chooseFile() {
  const [file] = at("file").files;
  if (!file) return;
  at("alert").hidden = true;
  const invert = { auto: null, true: true, false: false }[at("invert").value];
  try {
    await show(prepare(await read(file), invert));
  } catch (error) {
    report(error);
  }
}

async function begin() {
  const body = at("predictions").tBodies[0];
  for (let digit = 0; digit < 10; digit++) {
    const row = body.insertRow();
    row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: digit }));
    for (let i = 0; i < 3; i++) row.insertCell();
  }
  const [about, images, digits] = await Promise.all([
    fetch(new URL("data.json", import.meta.url)).then((answer) => answer.json()),
    bytes("images.bin"),
    bytes("digits.bin"),
  ]);
  data = { ...about, images, digits };
  data.indices.forEach((index, i) => at("image").add(new Option(`${index} (a ${data.labels[i]})`, i)));
  at("image").addEventListener("change", () => chooseImage(Number(at("image").value)));
  at("next").addEventListener("click", () => {
    at("image").value = (Number(at("image").value) + 1) % data.indices.length;
    chooseImage(Number(at("image").value));
  });
  at("again").addEventListener("click", () => inClutter(shown.digit, shown.truth));
  at("file").addEventListener("change", chooseFile);
  at("invert").addEventListener("change", chooseFile);
  at("k").addEventListener("input", () => {
    at("sure").checked = false;
    answer().catch(report);
  });
  for (const id of ["sure", "below"]) at(id).addEventListener("change", () => answer().catch(report));
  listenToDrawing();
  await chooseImage(0);
}

if (document.documentElement.className !== "unable") begin().catch(report);
