// Cluttered MNIST's rules, as dcnlib/data/cluttered_mnist.py has them: eight fragments, clamp, one whole digit, clamp.
import { SIDE } from "./network.js";

export const DIGIT = 28; // pixels of a digit's side
const CROP = 8;
const FRAGMENTS = 8;

const below = (limit, random) => Math.floor(random() * limit);

function add(canvas, digit, from, size, to) {
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++)
      canvas[(to.y + y) * SIDE + to.x + x] += digit[(from.y + y) * DIGIT + from.x + x];
}

/** digit: DIGIT * DIGIT values of 0..255. digits: others, one after another, to take fragments of. Gives pixels in [0, 1]. */
export function clutter(digit, digits, random = Math.random) {
  const canvas = new Float32Array(SIDE * SIDE);
  const count = digits.length / (DIGIT * DIGIT);
  const place = (room) => ({ y: below(room + 1, random), x: below(room + 1, random) });
  for (let i = 0; i < FRAGMENTS; i++) {
    const start = below(count, random) * DIGIT * DIGIT;
    add(canvas, digits.subarray(start, start + DIGIT * DIGIT), place(DIGIT - CROP), CROP, place(SIDE - CROP));
  }
  for (let i = 0; i < canvas.length; i++) canvas[i] = Math.min(canvas[i], 255);
  add(canvas, digit, { y: 0, x: 0 }, DIGIT, place(SIDE - DIGIT));
  return canvas.map((value) => Math.min(value, 255) / 255);
}
