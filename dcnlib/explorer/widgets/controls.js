// What the explorer is operated with: image, model, policy, and k.

const PLAY_MILLISECONDS = 450;
const USUAL_NATS = 0.1; // below which a network counts as sure, if none was calibrated for it

function buildControls(model, choose, setK) {
  const { models, policies, sources, images, item, mostBytes } = model.get("options");
  let typed = null; // the field with a number that isn't complete yet
  const number = (name, label, most) => {
    const commit = ({ target }) => {
      typed = null;
      const value = Math.trunc(Number(target.value));
      if (value !== standing(model)[name]) choose({ [name]: value });
    };
    return make("input", {
      type: "number",
      min: 0,
      max: most,
      step: 1,
      "aria-label": label,
      oninput: ({ target }) => (typed = target),
      onchange: commit,
      onblur: () => (typed = null),
      onkeydown: (event) => event.key === "Enter" && commit(event), // which is no change in JupyterLab
    });
  };
  const select = (name, label, values) =>
    make(
      "select",
      { "aria-label": label, onchange: (event) => choose({ [name]: event.target.value }) },
      ...values.map((value) => make("option", { value }, value)),
    );
  const labelled = (text, ...inputs) => make("label", {}, make("span", {}, text), ...inputs);

  const source = select("source", "Image source", sources);
  const [index, seed] = [number("index", `${item} number`, images - 1), number("seed", "Clutter seed", 2 ** 32 - 1)];
  const step = (by, label, sign) =>
    make(
      "button",
      {
        type: "button",
        "aria-label": label,
        onclick: () => choose({ index: (standing(model).index + by + images) % images }),
      },
      sign,
    );
  const file = make("input", {
    type: "file",
    "aria-label": "Upload an image",
    accept: "image/*,.npy",
    onchange: upload,
  });
  const numbered = make(
    "span",
    { class: "dcn-group" },
    labelled(item, index),
    step(-1, `Previous ${item.toLowerCase()}`, "‹"),
    step(1, `Next ${item.toLowerCase()}`, "›"),
  );
  const seeded = labelled("Clutter seed", seed);
  const invert = make(
    "select",
    { "aria-label": "Light and dark", onchange: ({ target }) => choose({ invert: JSON.parse(target.value) }) },
    make("option", { value: "null" }, "auto"),
    make("option", { value: "false" }, "as it is"),
    make("option", { value: "true" }, "inverted"),
  );
  const inverted = labelled("Light and dark", invert);
  const modelName = select("model", "Model", models);
  const policy = select("policy", "Policy", policies);
  const slider = make("input", {
    type: "range",
    min: 0,
    step: 1,
    "aria-label": "Number of patches k",
    oninput: (event) => {
      stop();
      setK(Number(event.target.value));
    },
  });
  const value = make("output", { class: "dcn-k" });
  const play = make("button", { type: "button", class: "dcn-play", onclick: () => (timer ? stop() : start()) });
  const commitNats = () => {
    typed = null;
    if (sure.checked && Number(nats.value) !== standing(model).entropy_below) choose({ entropy_below: Number(nats.value) });
  };
  const nats = make("input", {
    type: "number",
    min: 0,
    step: 0.01,
    "aria-label": "Sure below, in nats",
    oninput: ({ target }) => (typed = target),
    onchange: commitNats,
    onblur: () => (typed = null),
    onkeydown: (event) => event.key === "Enter" && commitNats(),
  });
  const sure = make("input", {
    type: "checkbox",
    "aria-label": "Look until sure",
    onchange: () => {
      stop();
      choose({ entropy_below: sure.checked ? Number(nats.value) : null });
    },
  });

  async function upload() {
    const [picked] = file.files;
    file.value = ""; // so that the same file can be chosen again
    if (!picked) return;
    // Python refuses too large a file by its size alone: it needn't travel.
    const content = picked.size > mostBytes ? new ArrayBuffer(0) : await picked.arrayBuffer();
    model.send({ kind: "upload", name: picked.name, size: picked.size }, undefined, [content]);
  }

  let timer = 0;
  let told = () => {};
  function tellPlaying() {
    play.textContent = timer ? "❚❚" : "▶";
    play.setAttribute("aria-label", timer ? "Pause" : "Play: one patch more at a time");
    told(timer !== 0);
  }
  function stop() {
    clearInterval(timer);
    timer = 0;
    tellPlaying();
  }
  function start() {
    const most = model.get("view").looks.length - 1;
    if (kOf(model) >= most) setK(0);
    timer = setInterval(() => {
      setK(kOf(model) + 1);
      if (kOf(model) >= most) stop();
    }, PLAY_MILLISECONDS);
    tellPlaying();
  }
  tellPlaying();

  const element = make(
    "div",
    { class: "dcn-controls" },
    labelled("Image", source),
    numbered,
    seeded,
    make("label", { class: "dcn-upload" }, "Upload…", file),
    inverted,
    labelled("Model", modelName),
    labelled("Policy", policy),
    labelled("Until sure", sure),
    labelled("below, nats", nats),
    make("div", { class: "dcn-slider" }, play, slider, value),
  );

  return {
    element,
    stop,
    onPlay: (listener) => (told = listener),
    show(view, choices, k, playing) {
      for (const input of [slider, play, policy, sure, nats]) input.disabled = playing;
      slider.max = view.looks.length - 1;
      slider.value = k;
      value.textContent = `k = ${k}`;
      for (const [name, input] of Object.entries({ source, index, seed, model: modelName, policy })) {
        if (input !== typed) input.value = choices[name];
      }
      sure.checked = choices.entropy_below !== null;
      if (nats !== typed) nats.value = choices.entropy_below ?? Number((view.calibrated ?? USUAL_NATS).toPrecision(3));
      invert.value = String(choices.invert);
      inverted.hidden = choices.source !== "upload";
      numbered.hidden = choices.source === "upload";
      seeded.hidden = choices.source !== "new clutter";
    },
  };
}
