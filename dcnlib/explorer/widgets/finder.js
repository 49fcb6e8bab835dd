// Images on which the look changes most, in groups. A click loads one in the explorer.

async function render({ model, el }) {
  const explorer = await model.widget_manager.get_model(model.get("explorer").replace("IPY_MODEL_", ""));
  const { k, model: name, policy, groups } = model.get("found");
  const root = frame("dcn-finder", `Images that ${k} patches change most`, explorer.get("options").colors);
  root.append(make("p", { class: "dcn-title" }, `Images whose answer or doubt ${k} patches change most (${name})`));

  function load(index) {
    explorer.set("k", k);
    explorer.set("playing", false); // the picture's caption has told the answers
    choose(explorer, { source: "validation", index, model: name, policy, entropy_below: null });
    explorer.trigger("dcn:reveal");
  }

  for (const { title, images } of groups) {
    const buttons = images.map(({ index, image, caption, doubt, label }) =>
      make(
        "button",
        { type: "button", "aria-label": label, "data-index": index, onclick: () => load(index) },
        make("img", { src: image, alt: "" }),
        make(
          "span",
          { class: "dcn-caption" },
          make("span", {}, `no. ${index}`),
          make("b", {}, caption),
          make("span", {}, doubt),
        ),
      ),
    );
    root.append(
      make("h4", {}, title),
      images.length ? make("div", { class: "dcn-grid" }, ...buttons) : make("p", {}, "None among these images."),
    );
  }
  el.append(root);

  function mark() {
    const { source, index } = explorer.get("choices");
    for (const button of root.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", source === "validation" && Number(button.dataset.index) === index);
    }
  }
  explorer.on("change:choices", mark);
  mark();
  return () => explorer.off("change:choices", mark);
}

export default { render };
