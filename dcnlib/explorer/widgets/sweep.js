// The image of an explorer at every k at once. A click shows that k in the explorer.

async function render({ model, el }) {
  const explorer = await model.widget_manager.get_model(model.get("explorer").replace("IPY_MODEL_", ""));
  const root = frame("dcn-sweep", "The same image at every number of patches", explorer.get("options").colors);
  const title = make("p", { class: "dcn-title" });
  const grid = make("div", { class: "dcn-grid" });
  root.append(title, grid);
  el.append(root);

  function tile(k) {
    const scene = new Scene({ "aria-hidden": "true" });
    const caption = make("span", { class: "dcn-caption" });
    const button = make(
      "button",
      {
        type: "button",
        onclick: () => chooseK(explorer, k),
      },
      scene.svg,
      caption,
    );
    return Object.assign(button, { scene, caption });
  }

  function draw() {
    const view = explorer.get("view");
    const playing = explorer.get("playing");
    const truth = view.truth === null ? "" : `, showing a ${view.truthText}`;
    title.textContent = playing
      ? "What the gradient makes of this image at every k is hidden while you play."
      : `${view.title}${truth}: patches of policy ${view.policy}`;
    grid.hidden = playing;
    while (grid.children.length > view.looks.length) grid.lastChild.remove();
    while (grid.children.length < view.looks.length) grid.append(tile(grid.children.length));
    [...grid.children].forEach((button, k) => {
      const look = view.looks[k];
      const answer = look.said[1];
      const mark = view.truth === null ? "" : look.right ? "✓" : "✗";
      button.scene.show(view, look);
      button.caption.replaceChildren(
        make("span", {}, `k = ${k}`),
        make("b", {}, `${answer.text} ${mark}`),
        make("span", {}, look.entropy_after.toFixed(2)),
      );
      button.classList.toggle("dcn-wrong", mark === "✗");
      button.setAttribute(
        "aria-label",
        `k = ${k}: ${answer.text} with ${percent(answer.probability)}, ` +
          `${{ "✓": "right, ", "✗": "wrong, ", "": "" }[mark]}entropy ${look.entropy_after.toFixed(3)} nats`,
      );
    });
    root.dataset.request = view.request;
    mark();
  }
  function mark() {
    [...grid.children].forEach((button, k) => button.setAttribute("aria-pressed", k === kOf(explorer)));
  }

  explorer.on("change:view change:playing", draw);
  explorer.on("change:k change:choices", mark);
  draw();
  return () => {
    explorer.off("change:view change:playing", draw);
    explorer.off("change:k change:choices", mark);
  };
}

export default { render };
