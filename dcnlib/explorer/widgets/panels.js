// What the explorer shows beside its maps. Each part has its element, and draws a look: `show(view, look, ...)`.

function showVerdict(element, view, look, byHand, playing) {
  const [before, after] = look.said;
  const known = view.truth !== null && !playing;
  const mark = !known ? "" : look.right ? "right" : "wrong";
  const patches = `${byHand ? "your " : ""}${plural(look.cells.length, "patch")}`;
  const truth = known ? `, showing a ${view.truthText}` : "";
  const said = make(
    "div",
    {},
    make("span", { class: "dcn-title" }, `${view.title}${truth}`),
    make(
      "span",
      {},
      "at first glance ",
      make("b", { class: "dcn-before" }, before.text),
      ` ${percent(before.probability)}`,
    ),
    make("span", {}, `with ${patches} `, make("b", { class: "dcn-after" }, after.text), ` ${percent(after.probability)}`),
    make("span", { class: `dcn-mark dcn-${mark}` }, { right: "✓ right", wrong: "✗ wrong", "": "" }[mark]),
    view.sure && !byHand ? make("span", { class: "dcn-sure" }, tellSure(view)) : "",
    view.notes.length ? make("span", { class: "dcn-notes" }, view.notes.join("; ")) : "",
  );
  if (said.textContent === element.textContent) return; // a screen reader would say it again
  element.replaceChildren(...said.childNodes);
}

function tellSure({ sure, chosen }) {
  const doubt = `${sure.entropy.toFixed(3)} nats`;
  return sure.entropy < chosen.entropy_below ? `sure: ${doubt}` : `still in doubt: ${doubt}`;
}

function buildBars() {
  const svg = make("svg", { viewBox: "0 0 320 318", role: "img", class: "dcn-bars" });
  const legend = make("p", { class: "dcn-legend" });
  const element = make("figure", {}, make("figcaption", {}, "Probability of each class"), svg, legend);
  return {
    element,
    show(view, look, byHand, playing) {
      const truths = playing || view.truth === null ? [] : [view.truth].flat();
      const series = [["coarse", "before", look.before, look.said[0]]];
      const refined = look.said[1];
      if (playing) series.push(["yours", "yours", look.after, refined]);
      else if (byHand) {
        const { gradients } = view.hand;
        series.push(["yours", "yours", look.after, refined], ["gradient's", "after", gradients.after, gradients.said[1]]);
      } else series.push(["refined", "after", look.after, refined]);
      const classes = view.classes.length;
      const rows = look.after.length / classes; // of a sequence, one for each position
      const [left, space] = [26, 294 / rows];
      const height = space - 14;
      const floor = (row) => (row + 1) * space;
      const pitch = (320 - left) / classes;
      const width = (0.84 * pitch) / series.length;
      const lines = [...Array(rows).keys()].flatMap((row) =>
        (rows > 1 ? [0, 1] : [0, 0.5, 1]).flatMap((p) => {
          const y = floor(row) - p * height;
          return [make("line", { class: "dcn-line", x1: left, x2: 320, y1: y, y2: y }), make("text", { x: 10, y: y + 4 }, p)];
        }),
      );
      const bars = series.flatMap(([, kind, values], s) =>
        values.map((p, n) =>
          make("rect", {
            class: `dcn-fill-${kind}`,
            width,
            height: Math.max(0.6, p * height),
            x: left + ((n % classes) + 0.08) * pitch + s * width,
            y: floor(Math.floor(n / classes)) - Math.max(0.6, p * height),
          }),
        ),
      );
      const named = (n) => shortened(view.classes[n], pitch);
      const names = view.classes.map((name, n) =>
        make(
          "text",
          {
            class: rows === 1 && truths.includes(n) ? "dcn-truth" : "",
            x: left + (n + 0.5) * pitch,
            y: 313,
          },
          `${rows === 1 && truths.includes(n) ? "▸" : ""}${named(n)}`,
          ...(named(n) === name ? [] : [make("title", {}, name)]),
        ),
      );
      const marks = rows === 1 ? [] : truths.map((n, row) =>
        make("text", { class: "dcn-truth", x: left + n * pitch + 2, y: floor(row) - height + 10 }, "▾"),
      );
      svg.replaceChildren(...lines, ...bars, ...names, ...marks);
      svg.setAttribute(
        "aria-label",
        series
          .map(([name, , , said]) => `${name} prediction: ${said.text} with ${percent(said.probability)}`)
          .join("; "),
      );
      legend.replaceChildren(...series.map(([name, kind]) => make("span", { class: `dcn-key dcn-key-${kind}` }, name)));
    },
  };
}

function buildStrip(toggle, highlight) {
  const tiles = make("div", { class: "dcn-tiles", role: "group", "aria-label": "Patches in order" });
  const element = make(
    "figure",
    { class: "dcn-strip" },
    make("figcaption", {}, "What the fine layers see, and how far the coarse and the fine vector lie apart there"),
    tiles,
  );
  let current = 0;

  function tile(n) {
    const image = make("image");
    const crop = make("svg", { "aria-hidden": "true" }, image);
    const bar = make("span", { class: "dcn-distance" });
    const number = make("span", { class: "dcn-number" });
    const text = make("span", { class: "dcn-value" });
    const button = make(
      "button",
      {
        type: "button",
        class: "dcn-tile",
        onclick: () => toggle(Number(button.dataset.cell)),
        onfocus: () => {
          current = n;
          highlight(Number(button.dataset.cell));
          rove();
        },
        onblur: () => highlight(null),
        onpointerenter: () => highlight(Number(button.dataset.cell)),
        onpointerleave: () => highlight(null),
      },
      number,
      crop,
      make("span", { class: "dcn-track" }, bar),
      text,
    );
    return Object.assign(button, { image, crop, bar, number, text });
  }
  /** Of all patches one can be reached by Tab, the others by arrow keys from there. */
  function rove() {
    current = Math.max(0, Math.min(current, tiles.children.length - 1));
    [...tiles.children].forEach((button, n) => (button.tabIndex = n === current ? 0 : -1));
  }
  tiles.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    tiles.children[Math.max(0, Math.min(current + step, tiles.children.length - 1))].focus();
  });

  return {
    element,
    highlight(hot) {
      for (const button of tiles.children) button.classList.toggle("dcn-hot", Number(button.dataset.cell) === hot);
    },
    show(view, look, byHand) {
      const most = view.looks.at(-1);
      const all = byHand ? look : most; // of a policy, also those that a larger k would look at, faded
      const k = look.cells.length;
      while (tiles.children.length > all.cells.length) tiles.lastChild.remove();
      while (tiles.children.length < all.cells.length) tiles.append(tile(tiles.children.length));
      const longest = Math.max(...most.distances, ...(view.hand?.look.distances ?? []), 1e-9);
      [...tiles.children].forEach((button, n) => {
        const [top, left, bottom, right] = all.boxes[n];
        const distance = all.distances[n];
        button.classList.toggle("dcn-later", n >= k);
        button.dataset.cell = all.cells[n];
        button.crop.setAttribute("viewBox", `${left} ${top} ${right - left} ${bottom - top}`);
        fill(button.image, view.image, view.size[1], view.size[0]);
        button.bar.style.height = `${(100 * distance) / longest}%`;
        button.number.textContent = n + 1;
        button.text.textContent = distance.toFixed(1);
        button.setAttribute(
          "aria-label",
          `Patch ${n + 1}${n < k ? ` of ${k}` : ", not looked at"}: rows ${top} to ${bottom - 1}, columns ${left} to ` +
            `${right - 1}, saliency ${all.saliencies[n].toPrecision(2)}, distance ${distance.toFixed(2)}. ` +
            `Press to ${n < k ? "remove" : "add"} it.`,
        );
      });
      rove();
    },
  };
}

function buildMeters() {
  const element = make("div", { class: "dcn-meters" });
  const row = (label, kind, share, text) =>
    make(
      "div",
      { class: "dcn-meter" },
      make("span", { class: "dcn-label" }, label),
      make(
        "span",
        { class: "dcn-track" },
        make("span", { class: `dcn-fill dcn-fill-${kind}`, style: `width: ${100 * Math.min(1, share)}%` }),
      ),
      make("span", { class: "dcn-figure" }, text),
    );
  return {
    element,
    show(view, look, spent, byHand, playing) {
      const after = byHand ? "yours" : "after";
      const classes = view.classes.length;
      const mostEntropy = (look.after.length / classes) * Math.log(classes);
      const doubt = (label, kind, entropy) =>
        row(label, kind, entropy / mostEntropy, entropy.toFixed(3));
      const dearest = Math.max(
        spent,
        ...view.multiplications,
        ...view.references.map((model) => model.multiplications),
      );
      const cost = (label, kind, count) => row(label, kind, count / dearest, millions(count));
      const fine = view.references.at(-1);
      const share = fine ? `${Math.round((100 * spent) / fine.multiplications)} % of what the ${fine.name} spends` : "";
      element.replaceChildren(
        make("h4", {}, "Entropy, in nats"),
        doubt("coarse", "before", look.entropy_before),
        doubt(byHand ? "yours" : "refined", after, look.entropy_after),
        ...(byHand && !playing ? [doubt("gradient's", "after", view.hand.gradients.entropy_after)] : []),
        make("h4", {}, "Multiplications"),
        cost("this look", after, spent),
        ...view.references.map((model) => cost(model.name, "reference", model.multiplications)),
        make("p", { class: "dcn-share" }, share),
        ...(view.references.length && !playing ? [make("h4", {}, "What single models say")] : []),
        ...(playing ? [] : view.references).map((model) =>
          make(
            "p",
            { class: "dcn-reference" },
            `${model.name}: `,
            make("b", {}, model.answer),
            ` ${percent(model.probability)}, entropy ${model.entropy.toFixed(3)}`,
          ),
        ),
      );
    },
  };
}

function buildHand(choose, play, forget) {
  const text = make("p", { class: "dcn-status" });
  const body = make("tbody");
  const games = make("caption");
  const table = make(
    "table",
    {},
    games,
    make(
      "thead",
      {},
      make("tr", {}, make("td"), make("th", { scope: "col" }, "you"), make("th", { scope: "col" }, "gradient")),
    ),
    body,
  );
  const button = (label, onclick) => make("button", { type: "button", onclick }, label);
  const back = button("Back to the policy", () => {
    play(false);
    choose({});
  });
  const hide = button("Hide the answers", () => play(true));
  const compare = button("Compare with the gradient", () => play(false));
  const again = button("New score", forget);
  const element = make(
    "div",
    { class: "dcn-hand" },
    make("h4", {}, "Can you choose better than the gradient?"),
    text,
    table,
    make(
      "div",
      { class: "dcn-buttons" },
      hide,
      compare,
      button("Start from no patch", () => choose({ cells: [] })),
      back,
      again,
    ),
  );
  return {
    element,
    show(view, byHand, playing) {
      back.disabled = !byHand;
      hide.hidden = playing;
      compare.hidden = !playing;
      compare.disabled = !view.hand || view.hand.look.cells.length === 0;
      again.disabled = view.games === 0;
      table.hidden = view.games === 0 || playing;
      text.textContent = status(view, byHand, playing);
      games.textContent = `Over ${plural(view.games, "image")} with patches of your own`;
      const row = (label, figure) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, label),
          ...[view.yours, view.gradients].map((score) => make("td", {}, figure(score))),
        );
      body.replaceChildren(
        row("right answers", (score) => score.right),
        row("probability of the truth", (score) => percent(score.truth)),
        row("entropy, nats", (score) => score.entropy.toFixed(3)),
      );
    },
  };
}

function status(view, byHand, playing) {
  if (!byHand) {
    const how = "Click on the image to change the patches, or start from none.";
    return `${how} The score counts the latest choice for each image.`;
  }
  const { look, gradients } = view.hand;
  if (look.cells.length === 0) return "No patches yet: click where you would look.";
  if (playing) return "More patches, or compare: truth and gradient are hidden until then.";
  const same = `with ${plural(look.cells.length, "patch")}`;
  if (view.truth === null) {
    const answers = `You: ${look.said[1].text}; the gradient, ${same}: ${gradients.said[1].text}.`;
    return `${answers} The truth isn't known here, so there is no score.`;
  }
  const [yours, theirs] = [look, gradients].map((one) => percent(one.truth));
  return `Probability of the ${view.truthText}: ${yours} for you, ${theirs} for the gradient ${same}.`;
}
