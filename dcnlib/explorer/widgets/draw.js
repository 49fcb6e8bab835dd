// What the three widgets share: making elements, and drawing an image with the patches of a look.

const SVG_TAGS = new Set(["svg", "g", "image", "rect", "line", "text", "title", "path"]);
const FOCUSABLE_TAGS = new Set(["button", "input", "select"]);

/** An element with attributes (`on...` are listeners) and children. */
function make(tag, attributes = {}, ...children) {
  const element = SVG_TAGS.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  // JupyterLab would take arrow keys and Enter for its own commands. It looks for this mark on the focused element.
  if (FOCUSABLE_TAGS.has(tag) || "tabindex" in attributes) element.setAttribute("data-lm-suppress-shortcuts", "true");
  element.append(...children);
  return element;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const millions = (count) => `${(count / 1e6).toFixed(1)} M`;
const argmax = (values) => values.indexOf(Math.max(...values));
/** A name, cut to what has room in so many pixels. */
const shortened = (name, width) => (name.length <= width / 6 ? name : `${name.slice(0, Math.max(1, Math.floor(width / 6) - 1))}…`);
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : noun.endsWith("ch") ? "es" : "s"}`;

/** The patches' common area, as a path in pixels. Boxes are top, left, bottom, right. */
function area(boxes) {
  return boxes.map(([top, left, bottom, right]) => `M${left} ${top}H${right}V${bottom}H${left}Z`).join("");
}

/** Show a picture in an SVG image; the same one again is left alone, which would flicker. */
function fill(image, address, width, height) {
  if (image.getAttribute("href") === address) return;
  image.setAttribute("href", address);
  image.setAttribute("width", width);
  image.setAttribute("height", height);
}

/** An SVG in pixel coordinates: the image dimmed, and as it is where the patches of `look` lie. */
class Scene {
  constructor(attributes) {
    this.dim = make("image", { class: "dcn-dim" });
    this.outline = make("path", { class: "dcn-outline" }); // its inner half is covered by the lit image
    this.lit = make("image");
    this.marks = make("g");
    this.svg = make("svg", { class: "dcn-scene", ...attributes }, this.dim, this.outline, this.lit, this.marks);
  }

  show(view, look) {
    const [height, width] = view.size;
    const margin = view.margin; // patches may reach over the border
    this.svg.setAttribute("viewBox", `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`);
    for (const layer of [this.dim, this.lit]) fill(layer, view.image, width, height);
    const seen = area(look.boxes) || "M0 0";
    this.dim.classList.toggle("dcn-alone", look.boxes.length === 0);
    this.outline.setAttribute("d", seen);
    this.lit.style.clipPath = `path("${seen}")`;
  }
}

/** What was asked for last, or what is shown where that was refused. */
function standing(explorer) {
  const asked = explorer.get("choices");
  return explorer.get("error").request >= asked.request ? { ...asked, ...explorer.get("view").chosen } : asked;
}

/** Ask an explorer's Python for another view: it answers the latest request. Patches by hand are left behind; in a game,
 * where truth and policy are hidden, one begins with none. Whoever chooses by hand doesn't look until sure. */
function choose(explorer, changes = {}) {
  const choices = standing(explorer);
  const cells = explorer.get("playing") ? [] : null;
  const chosen = { ...choices, cells, ...changes, request: choices.request + 1 };
  if (chosen.cells !== null) chosen.entropy_below = null;
  explorer.set("choices", chosen);
  explorer.save_changes();
}

/** How many patches of the policy are shown: the user's k, or as many as it took to be sure. */
function kOf(explorer) {
  const { sure } = explorer.get("view");
  return sure !== null && explorer.get("choices").entropy_below !== null ? sure.patches : explorer.get("k");
}

/** Show k patches of the policy: whoever chooses k doesn't choose by hand, nor looks until sure. */
function chooseK(explorer, k) {
  explorer.set("k", k);
  explorer.save_changes();
  const { cells, entropy_below } = explorer.get("choices");
  if (cells !== null || entropy_below !== null) choose(explorer, { entropy_below: null });
}

/** A widget's root, with the palette that Python hands over as CSS variables. */
function frame(kind, label, colors) {
  const root = make("section", { class: `dcn ${kind}`, "aria-label": label });
  for (const [name, color] of Object.entries(colors)) root.style.setProperty(`--dcn-${name}`, color);
  return root;
}
