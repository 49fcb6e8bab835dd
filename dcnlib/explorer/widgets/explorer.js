// The explorer. All that is drawn comes from one answer of Python (`view`, with every k in it), from k, and from
// whether patches are chosen by hand (`choices.cells`): so no two parts of the picture can disagree.

const PATIENCE_MILLISECONDS = 5000;

function render({ model, el }) {
  const options = model.get("options");
  const root = frame("dcn-explorer", "Explorer of the Dynamic Capacity Network", options.colors);

  const ask = (changes) => choose(model, changes);
  const controls = buildControls(model, ask, setK);
  const alert = make("p", { class: "dcn-alert", role: "alert" });
  const verdict = make("p", { class: "dcn-verdict", role: "status", "aria-live": "polite" });
  const picture = buildPicture(toggle, highlight);
  const saliency = buildSaliency(toggle, options.colorbar);
  saliency.element.classList.add("dcn-secret"); // it shows where the gradient would look
  const bars = buildBars();
  const strip = buildStrip(toggle, highlight);
  const meters = buildMeters();
  const hand = buildHand(ask, play, () => model.send({ kind: "forget" }));
  root.append(
    controls.element,
    alert,
    verdict,
    make("div", { class: "dcn-panels" }, picture.element, saliency.element, bars.element),
    strip.element,
    make("div", { class: "dcn-panels dcn-lower" }, meters.element, hand.element),
  );
  el.append(root);

  function setK(k) {
    chooseK(model, Math.max(0, Math.min(k, model.get("view").looks.length - 1)));
  }

  /** Hide truth and policy, and begin without a patch; or show them. */
  function play(playing) {
    model.set("playing", playing);
    if (playing) ask({});
    else model.save_changes();
  }

  /** Add or remove a patch by hand; the first one changes what the policy has chosen. */
  function toggle(cell) {
    const { cells, request } = model.get("choices");
    const refused = model.get("error").request >= request;
    if (cells === null && !refused && model.get("view").request < request) return; // another image is on its way
    const present = cells === null || refused ? shown().cells : cells;
    ask({ cells: present.includes(cell) ? present.filter((other) => other !== cell) : [...present, cell] });
  }

  function highlight(cell) {
    for (const part of [picture, saliency, strip]) part.highlight(cell);
  }

  function shown() {
    const view = model.get("view");
    return model.get("choices").cells !== null && view.hand ? view.hand.look : view.looks[kOf(model)];
  }

  function draw() {
    const view = model.get("view");
    const choices = model.get("choices");
    const look = shown();
    const byHand = view.hand !== null && look === view.hand.look;
    root.classList.toggle("dcn-by-hand", byHand);
    const playing = model.get("playing");
    root.classList.toggle("dcn-playing", playing);
    controls.show(view, standing(model), look.cells.length, playing);
    showVerdict(verdict, view, look, byHand, playing);
    picture.show(view, look, byHand);
    saliency.show(view, look);
    bars.show(view, look, byHand, playing);
    strip.show(view, look, byHand);
    meters.show(view, look, spent(view, look, byHand), byHand, playing);
    hand.show(view, byHand, playing);
    root.dataset.k = look.cells.length;
    root.dataset.request = view.request;
  }

  function spent(view, look, byHand) {
    if (byHand) return view.hand.multiplications;
    const sure = view.sure !== null && model.get("choices").entropy_below !== null;
    return sure ? view.sure.multiplications : view.multiplications[look.cells.length];
  }

  let pending = 0;
  let patience = 0;
  function schedule() {
    pending ||= requestAnimationFrame(() => {
      pending = 0;
      const { request, message } = model.get("error");
      const waiting = Math.max(model.get("view").request, request) < model.get("choices").request;
      root.setAttribute("aria-busy", waiting);
      clearTimeout(patience);
      if (waiting) patience = setTimeout(() => say("No answer yet. If none comes, its kernel has ended: reload the page; in JupyterLab, run all cells again."), PATIENCE_MILLISECONDS);
      say(request >= model.get("choices").request ? message : "");
      try {
        draw();
      } catch (error) {
        say(`The picture can't be drawn: ${error}`);
        throw error;
      }
    });
  }
  function say(message) {
    if (alert.textContent !== message) alert.textContent = message;
  }

  const reveal = () => root.scrollIntoView({ behavior: "smooth", block: "nearest" });
  const followed = ["change:view", "change:choices", "change:k", "change:error", "change:playing"];
  for (const event of followed) model.on(event, schedule);
  model.on("dcn:reveal", reveal);
  controls.onPlay((playing) => verdict.setAttribute("aria-live", playing ? "off" : "polite"));
  schedule();
  return () => {
    controls.stop();
    clearTimeout(patience);
    cancelAnimationFrame(pending);
    for (const event of followed) model.off(event, schedule);
    model.off("dcn:reveal", reveal);
  };
}

export default { render };
