// The exported networks in onnxruntime-web. Nothing here knows the page: the tests call it too.
import * as ort from "./ort/ort.wasm.min.mjs";

export const SIDE = 100; // pixels of an image
export const MAP = 23; // cells of a map, each way

ort.env.wasm.numThreads = 1; // more need a page that is isolated from other origins
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

const opened = new Map();

/** A session for one of the files in models/, opened at its first use. */
function session(name) {
  if (!opened.has(name)) {
    const address = new URL(`./models/${name}.onnx`, import.meta.url).href;
    opened.set(name, ort.InferenceSession.create(address, { executionProviders: ["wasm"] }));
  }
  return opened.get(name);
}

const tensorOf = (pixels) => new ort.Tensor("float32", pixels, [1, 1, SIDE, SIDE]);

export function softmax(logits) {
  const most = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** What is known before a patch is chosen. pixels: Float32Array of SIDE * SIDE values in [0, 1]. */
export async function firstLook(pixels) {
  const images = tensorOf(pixels);
  const network = await session("first");
  const begun = performance.now();
  const found = await network.run({ images });
  return {
    images,
    map: found.coarse_map,
    cells: found.cells.data, // all of them, most salient first
    boxes: Array.from(found.boxes.data, Number), // four numbers a cell: top, left, bottom, right
    probabilities: softmax(found.coarse_logits.data),
    entropy: found.entropy.data[0],
    saliency: found.saliency.data,
    milliseconds: performance.now() - begun,
  };
}

/** Probabilities of the classes after a closer look at the k most salient cells; with k = 0, before it. */
export async function refine(look, k) {
  if (k === 0) return { probabilities: look.probabilities, milliseconds: 0 };
  const cells = new ort.Tensor("int64", look.cells.slice(0, k), [1, k]);
  const network = await session("refine");
  const begun = performance.now();
  const { logits } = await network.run({ images: look.images, coarse_map: look.map, cells });
  return { probabilities: softmax(logits.data), milliseconds: performance.now() - begun };
}

/** The entropy of probabilities, in nats. */
export function entropyOf(probabilities) {
  return -probabilities.reduce((sum, share) => sum + (share > 0 ? share * Math.log(share) : 0), 0);
}

/** A closer look with more patches after each round, until the entropy is below so many nats: k beside what `refine` says. */
export async function untilSure(look, below, rounds) {
  let answer = { k: 0, ...(await refine(look, 0)) };
  let milliseconds = 0;
  for (const k of rounds) {
    if (entropyOf(answer.probabilities) < below) break;
    answer = { k, ...(await refine(look, k)) };
    milliseconds += answer.milliseconds;
  }
  return { ...answer, milliseconds };
}

/** What the fine model says, which looks closely everywhere. */
export async function fineModel(pixels) {
  const network = await session("fine");
  const images = tensorOf(pixels);
  const begun = performance.now();
  const { logits } = await network.run({ images });
  return { probabilities: softmax(logits.data), milliseconds: performance.now() - begun };
}
