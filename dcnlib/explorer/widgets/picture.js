// The explorer's two maps: the image with its patches, where they can be chosen by hand, and the saliency.

/** Which cell's patch has its centre nearest to a point in pixels. */
function nearestCell(view, y, x) {
  const nearest = (centres, at) => argmax(centres.map((centre) => -Math.abs(centre - at)));
  return nearest(view.centres.rows, y) * view.map[1] + nearest(view.centres.columns, x);
}

function centreOf(view, cell) {
  return [view.centres.rows[Math.floor(cell / view.map[1])], view.centres.columns[cell % view.map[1]]];
}

function buildPicture(toggle, highlight) {
  const scene = new Scene({ tabindex: 0, role: "application" });
  const cursor = make("rect", { class: "dcn-cursor" });
  scene.svg.append(cursor);
  const caption = make("figcaption");
  const element = make(
    "figure",
    { class: "dcn-picture" },
    caption,
    scene.svg,
    make("p", { class: "dcn-hint" }, "A click, or Enter, adds or removes a patch."),
  );
  let view, look, cell;

  scene.svg.addEventListener("click", (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(scene.svg.getScreenCTM().inverse());
    cell = nearestCell(view, point.y, point.x);
    toggle(cell);
  });
  scene.svg.addEventListener("keydown", (event) => {
    const [rows, columns] = view.map;
    let [row, column] = [Math.floor(cell / columns), cell % columns];
    if (event.key === "Enter" || event.key === " ") toggle(cell);
    else if (event.key === "ArrowUp") row = Math.max(0, row - 1);
    else if (event.key === "ArrowDown") row = Math.min(rows - 1, row + 1);
    else if (event.key === "ArrowLeft") column = Math.max(0, column - 1);
    else if (event.key === "ArrowRight") column = Math.min(columns - 1, column + 1);
    else return;
    event.preventDefault();
    cell = row * columns + column;
    placeCursor();
  });

  function placeCursor() {
    const [y, x] = centreOf(view, cell);
    const [height, width] = view.patch;
    const box = { x: x - width / 2, y: y - height / 2, width, height };
    for (const [name, value] of Object.entries(box)) cursor.setAttribute(name, value);
    const place = look.cells.indexOf(cell);
    const state = place < 0 ? "not chosen" : `patch ${place + 1} of ${look.cells.length}`;
    scene.svg.setAttribute(
      "aria-label",
      `The image, ${view.size.join(" by ")} pixels, with ${plural(look.cells.length, "patch")}. Cursor at row ` +
        `${Math.round(y)}, column ${Math.round(x)}: ${state}. Arrow keys move it, Enter adds or removes a patch.`,
    );
  }

  return {
    element,
    highlight(hot) {
      for (const mark of scene.marks.children) mark.classList.toggle("dcn-hot", Number(mark.dataset.cell) === hot);
    },
    show(newView, newLook, byHand) {
      [view, look] = [newView, newLook];
      caption.textContent = `${plural(look.cells.length, "patch")} ${byHand ? "of yours" : `by ${view.policy}`}`;
      scene.show(view, look);
      const marks = look.boxes.map(([top, left, bottom, right], n) => {
        const mark = make("g", {
          class: n === 0 ? "dcn-patch dcn-first" : "dcn-patch",
          "data-cell": look.cells[n],
          onpointerenter: () => highlight(look.cells[n]),
          onpointerleave: () => highlight(null),
        });
        mark.append(
          make("rect", { x: left, y: top, width: right - left, height: bottom - top }),
          make("text", { x: (left + right) / 2, y: (top + bottom) / 2 }, n + 1),
        );
        return mark;
      });
      scene.marks.classList.toggle("dcn-many", marks.length > 9); // two digits in a cell need a smaller print
      scene.marks.replaceChildren(...marks.reverse()); // the most salient one on top
      if (cell === undefined || cell >= view.map[0] * view.map[1]) cell = look.cells[0] ?? 0;
      placeCursor();
    },
  };
}

function buildSaliency(toggle, colorbar) {
  const map = make("image", { class: "dcn-map" });
  const chosen = make("g");
  const svg = make("svg", { class: "dcn-scene", role: "img" }, map, chosen);
  const most = make("span");
  const bar = make("img", { alt: "", src: colorbar });
  const element = make(
    "figure",
    {},
    make("figcaption", {}, "Saliency of each cell"),
    svg,
    make("p", { class: "dcn-legend" }, make("span", {}, "0"), bar, most),
  );
  let view;
  svg.addEventListener("click", (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const [row, column] = [Math.floor(point.y), Math.floor(point.x)];
    if (row >= 0 && column >= 0 && row < view.map[0] && column < view.map[1]) toggle(row * view.map[1] + column);
  });
  return {
    element,
    highlight(hot) {
      for (const mark of chosen.children) mark.classList.toggle("dcn-hot", Number(mark.dataset.cell) === hot);
    },
    show(newView, look) {
      view = newView;
      const [rows, columns] = view.map;
      svg.setAttribute("viewBox", `0 0 ${columns} ${rows}`);
      fill(map, view.saliency, columns, rows);
      most.textContent = view.mostSalient.toPrecision(2);
      svg.setAttribute(
        "aria-label",
        `Saliency of ${rows} by ${columns} cells, 0 to ${view.mostSalient.toPrecision(2)}; the chosen ones are framed.`,
      );
      chosen.replaceChildren(
        ...look.cells.map((cell) =>
          make("rect", {
            class: "dcn-cell",
            "data-cell": cell,
            x: cell % columns,
            y: Math.floor(cell / columns),
            width: 1,
            height: 1,
          }),
        ),
      );
    },
  };
}
