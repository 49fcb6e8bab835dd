// What the library's `predict` makes of a picture: grey, light on dark, in the middle of the image.
import { DIGIT } from "./clutter.js";
import { SIDE } from "./network.js";

const MOST_PIXELS = 25_000_000;

/** Grey levels 0..255 of an RGBA picture, transparent parts on white, or on black if all that is drawn is light.
 *  negative: invert the colours before they are mixed. */
export function grey({ data, width, height }, negative = false) {
  const luma = (r, g, b) => (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16; // as Pillow mixes them
  const levels = new Float32Array(width * height);
  let darkest = 255;
  let drawn = false;
  for (let i = 0; i < data.length; i += 4)
    if (data[i + 3] > 127) {
      drawn = true;
      darkest = Math.min(darkest, luma(data[i], data[i + 1], data[i + 2]));
    }
  const ground = drawn && darkest > 127 ? 0 : 255;
  for (let i = 0; i < levels.length; i++) {
    const [r, g, b, a] = data.subarray(4 * i, 4 * i + 4);
    const on = (channel) => {
      const seen = Math.round((channel * a + ground * (255 - a)) / 255);
      return negative ? 255 - seen : seen;
    };
    levels[i] = luma(on(r), on(g), on(b));
  }
  return { levels, width, height };
}

/** Whether the median of the outermost pixels is above one half. */
function onLightGround({ levels, width, height }) {
  const border = [];
  for (let x = 0; x < width; x++) border.push(levels[x], levels[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) border.push(levels[y * width], levels[y * width + width - 1]);
  border.sort((a, b) => a - b);
  return (border[border.length / 2 - 1] + border[border.length / 2]) / 2 > 127.5;
}

/** For each new pixel along one side: where its window begins in the old ones, and its weights (a triangle's). */
function windows(from, to) {
  const scale = from / to;
  return Array.from({ length: to }, (_, i) => {
    const center = scale * (i + 0.5);
    const begin = Math.max(0, Math.trunc(center - scale + 0.5));
    const end = Math.min(from, Math.trunc(center + scale + 0.5));
    const weights = [];
    for (let j = begin; j < end; j++) weights.push(Math.max(0, 1 - Math.abs((j - center + 0.5) / scale)));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { begin, weights: weights.map((weight) => weight / sum) };
  });
}

/** Bilinear with antialiasing, as torch has it. */
function shrunk(levels, width, height, newWidth, newHeight) {
  const across = windows(width, newWidth);
  const rows = new Float32Array(newWidth * height);
  for (let y = 0; y < height; y++)
    across.forEach(({ begin, weights }, x) => {
      rows[y * newWidth + x] = weights.reduce((sum, w, j) => sum + w * levels[y * width + begin + j], 0);
    });
  const result = new Float32Array(newWidth * newHeight);
  windows(height, newHeight).forEach(({ begin, weights }, y) => {
    for (let x = 0; x < newWidth; x++)
      result[y * newWidth + x] = weights.reduce((sum, w, j) => sum + w * rows[(begin + j) * newWidth + x], 0);
  });
  return result;
}

/** As Python rounds: halves to the even neighbour. */
const round = (x) => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/** The image that a network sees, and what was done. invert: true, false, or null for what the border says. */
export function prepare(picture, invert) {
  const notes = [];
  let { levels, width, height } = grey(picture);
  if (invert ?? onLightGround({ levels, width, height })) {
    ({ levels } = grey(picture, true));
    notes.push(invert ? "inverted as asked" : "inverted as it shows dark on light");
  }
  const factor = Math.min(1, SIDE / height, SIDE / width);
  if (factor < 1) {
    const size = [width, height].map((side) => Math.max(1, round(factor * side)));
    levels = shrunk(levels, width, height, ...size);
    notes.push(`shrunk from ${width}x${height} to ${size[0]}x${size[1]} pixels`);
    [width, height] = size;
  }
  const [top, left] = [(SIDE - height) >> 1, (SIDE - width) >> 1];
  const pixels = new Float32Array(SIDE * SIDE);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      pixels[(top + y) * SIDE + left + x] = Math.min(1, Math.max(0, levels[y * width + x] / 255));
  return { pixels, notes };
}

/** The pixels of a picture file, turned as its EXIF says. */
export async function read(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${file.name} can't be read as a picture: give a PNG, JPEG, WebP, GIF or BMP`);
  }
  if (bitmap.width * bitmap.height > MOST_PIXELS)
    throw new Error(`${file.name} has more than ${MOST_PIXELS / 1e6} million pixels: give a smaller one`);
  const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** A drawing, white on black, as MNIST has its digits: its longer side 20 pixels, its centre of mass in the middle. */
export function toDigit({ data, width, height }) {
  const ink = (x, y) => data[4 * (y * width + x)];
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (ink(x, y) > 0) {
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
      }
  if (right < 0) return null;
  const [w, h] = [right - left + 1, bottom - top + 1];
  const cut = new Float32Array(w * h);
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) cut[y * w + x] = ink(left + x, top + y);
  const factor = 20 / Math.max(w, h);
  const [newW, newH] = [w, h].map((side) => Math.max(1, Math.round(side * factor)));
  const small = shrunk(cut, w, h, newW, newH);
  let [sum, sumX, sumY] = [0, 0, 0];
  small.forEach((value, i) => {
    sum += value;
    sumX += value * ((i % newW) + 0.5);
    sumY += value * (Math.floor(i / newW) + 0.5);
  });
  const inside = (offset, side) => Math.min(DIGIT - side, Math.max(0, Math.round(offset)));
  const [atX, atY] = [inside(DIGIT / 2 - sumX / sum, newW), inside(DIGIT / 2 - sumY / sum, newH)];
  const digit = new Uint8Array(DIGIT * DIGIT);
  small.forEach((value, i) => {
    digit[(atY + Math.floor(i / newW)) * DIGIT + atX + (i % newW)] = Math.round(value);
  });
  return digit;
}
