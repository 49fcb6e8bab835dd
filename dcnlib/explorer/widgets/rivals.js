// How models with glimpses look at an explorer's image: one picture each, its boxes from the first look to the last.

async function render({ model, el }) {
  const explorer = await model.widget_manager.get_model(model.get("explorer").replace("IPY_MODEL_", ""));
  const root = frame("dcn-rivals", "How RAM and DRAW look at the same image", explorer.get("options").colors);
  const title = make("p", { class: "dcn-title" });
  const chosen = make("select", { onchange: draw });
  const slider = make("input", { type: "range", min: 0, step: 1, oninput: draw });
  const told = make("span", { class: "dcn-k" });
  const controls = make(
    "div",
    { class: "dcn-controls" },
    make("label", {}, make("span", {}, "Model"), chosen),
    make("label", { class: "dcn-slider" }, make("span", {}, "Glimpses"), slider, told),
  );
  const scene = new Scene({ role: "img" });
  const answer = make("p", { class: "dcn-verdict", role: "status" });
  root.append(title, controls, scene.svg, answer);
  el.append(root);

  function draw() {
    const playing = explorer.get("playing");
    const rivals = model.get("looks");
    const view = explorer.get("view");
    if (!playing && view.request !== model.get("request")) return; // the looks at this image are on their way
    title.textContent = playing
      ? "How RAM and DRAW look at this image is hidden while you play."
      : `${view.title}, looked at glimpse by glimpse`;
    for (const part of [controls, scene.svg, answer]) part.toggleAttribute("hidden", playing);
    while (chosen.options.length < rivals.length) {
      const { name } = rivals[chosen.options.length];
      chosen.append(Object.assign(document.createElement("option"), { value: name, textContent: name }));
    }
    const rival = rivals[Math.max(0, chosen.selectedIndex)];
    const most = rival.boxes.length;
    if (Number(slider.max) !== most) Object.assign(slider, { max: most, value: most });
    const count = Number(slider.value);
    const boxes = rival.boxes.slice(0, count);
    scene.show({ ...view, margin: 14 }, { boxes });
    scene.marks.replaceChildren(
      ...boxes.map(([top, left, bottom, right], n) =>
        make(
          "g",
          { class: n === count - 1 ? "dcn-patch dcn-first" : "dcn-patch" },
          make("rect", { x: left, y: top, width: right - left, height: bottom - top }),
        ),
      ),
    );
    told.textContent = `${count} of ${most}`;
    const best = argmax(rival.probabilities);
    const mark = view.truth === null ? "" : best === view.truth ? ", right" : ", wrong";
    const said = `${rival.name} says ${best} after ${plural(most, "glimpse")}, with ${percent(rival.probabilities[best])}${mark}.`;
    answer.textContent = `${said} What it has seen of the image so far is lit; the newest glimpse has the red frame.`;
    scene.svg.setAttribute("aria-label", `The image with ${plural(count, "glimpse")} of ${rival.name}`);
    root.dataset.request = model.get("request");
  }

  explorer.on("change:playing", draw);
  model.on("change:looks", draw);
  draw();
  return () => {
    explorer.off("change:playing", draw);
    model.off("change:looks", draw);
  };
}

export default { render };
