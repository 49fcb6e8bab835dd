"""The explorer in a browser: DOM widgets for JupyterLab and voilà, drawn by the scripts beside this file.

Python answers a choice with one `view`, which holds every k at once. So k moves in the browser alone, and what stands
on the screen at any time belongs together.
"""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from ipywidgets import Widget, widget_serialization
from PIL import Image
from torch import Tensor

from dcnlib import plots
from dcnlib.analysis.looks import PAPERS_POLICY, Answer, Changes, Look, answer_of, chance_of
from dcnlib.explorer.state import Choices, Explorer, View
from dcnlib.utils.files import check_size

COLORS = {
    name: getattr(plots, name.upper()) for name in ("orange", "sky", "green", "blue", "vermillion", "purple", "grey")
}
FOLDER = Path(__file__).parent
Covered = int | tuple[int, int] | None  # from what row and column on cells never reach the output
CHOSEN = ("source", "index", "seed", "model", "policy", "entropy_below")  # what a refused choice goes back to
MOST_UPLOADED = 5_000_000  # bytes of a file: Jupyter's server takes no messages of more than 10 MB


def _script(*names: str) -> str:
    """One module of several files, which share what the first one declares."""
    return "\n".join((FOLDER / name).read_text() for name in ("draw.js", *names))


class _Widget(anywidget.AnyWidget):
    """The widgets' common style, and what stands in their place where no kernel runs."""

    _css = (FOLDER / "style.css").read_text()

    def __repr__(self) -> str:
        return f"{type(self).__name__}: to use it, open this page with a running kernel and run its cells"


class ExplorerWidget(_Widget):
    """Choose an image, a model, a policy and k, or patches by hand, and see the network look twice.

    covered: cells from this row and column on never reach the output, and are greyed (see `covered_size`). playing:
    whether it begins with a game, in which truth and policy are hidden until the user has chosen patches and asks.
    What can't be done is told in the widget.
    """

    _esm = _script("controls.js", "picture.js", "panels.js", "explorer.js")
    options = traitlets.Dict().tag(sync=True)
    choices = traitlets.Dict().tag(sync=True)
    k = traitlets.Int(8).tag(sync=True)
    view = traitlets.Dict().tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    error = traitlets.Dict({"request": -1, "message": ""}).tag(sync=True)

    def __init__(
        self, explorer: Explorer, *, index: int = 0, k: int = 8, covered: Covered = None, playing: bool = False
    ) -> None:
        self.explorer, self.covered = explorer, covered
        first = Choices(next(iter(explorer.dcns)), index=index, cells=() if playing else None)
        super().__init__(
            options={
                "models": list(explorer.dcns),
                "policies": explorer.policies,
                "sources": explorer.sources,
                "images": len(explorer.data),
                "item": "Digit" if "new clutter" in explorer.sources else "Picture",
                "mostBytes": MOST_UPLOADED,
                "colors": COLORS,
                "colorbar": map_url(torch.linspace(0, 1, 256)[None], None),
            },
            choices={**vars(first), "request": 0},
            playing=playing,
            k=k,
            view=self._payload(explorer.view(first), 0),
        )
        self.observe(self._answer, "choices")
        self.on_msg(self._receive)

    def choose(self, *, k: int | None = None, **changes: Any) -> None:
        """Change what is shown, as a user would: fields of `Choices`, and k. Patches by hand are left behind,
        and a game begins anew."""
        if k is not None:
            self.k = k
        by_hand = () if self.playing else None
        self.choices = {**self.choices, "cells": by_hand, **changes, "request": self.choices["request"] + 1}

    def _answer(self, _: object) -> None:
        request = self.choices["request"]
        fields = {name: value for name, value in self.choices.items() if name != "request"}
        if fields["cells"] is not None:
            fields["cells"] = tuple(fields["cells"])
        try:
            self.view = self._payload(self.explorer.view(Choices(**fields)), request)
        except Exception as error:
            self._tell(error)

    def _receive(self, _: object, message: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        if message["kind"] == "upload":
            try:
                check_size(message["name"], message["size"], MOST_UPLOADED)
                self.explorer.upload(message["name"], bytes(buffers[0]))
            except Exception as error:
                self._tell(error)
            else:
                self.choose(source="upload", invert=None)
        elif message["kind"] == "forget":
            self.explorer.forget_games()
            self.choose()

    def _tell(self, error: Exception) -> None:
        """Show an error in the widget, until the next choice. One that isn't the user's also goes to the log."""
        message = str(error)
        if not isinstance(error, ValueError):
            message = f"{type(error).__name__}: {error}"
            self.log.error("the explorer failed", exc_info=error)
        self.error = {"request": self.choices["request"], "message": message}

    def _payload(self, view: View, request: int) -> dict[str, Any]:
        """A view in plain numbers and pictures, for the script."""
        dcn = self.explorer.dcns[view.choices.model]
        saliency = view.looks[0].saliency
        rows, columns = saliency.shape
        height, width = view.subject.image.shape[1:]
        boxes = dcn.geometry.boxes(torch.arange(rows * columns), columns)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        beyond = max(-int(boxes.min()), int(boxes[:, 2].max()) - height, int(boxes[:, 3].max()) - width, 0)
        hand, label = view.hand, view.subject.label

        def told(look: Look) -> dict[str, Any]:
            return _look(look, self.explorer, label)

        return {
            "request": request,
            "chosen": {name: getattr(view.choices, name) for name in CHOSEN},
            "title": view.subject.title,
            "notes": view.subject.notes,
            "truth": label,
            "truthText": None if label is None else self.explorer.text(label),
            "classes": self.explorer.task.classes,
            "policy": view.choices.policy,
            "image": picture_url(view.subject.image),
            "size": [height, width],
            "margin": beyond + 1,
            "saliency": map_url(saliency, self.covered),
            "mostSalient": float(saliency.max()),
            "map": [rows, columns],
            "patch": list(dcn.geometry.sizes),
            "centres": {"rows": centres[::columns, 0].tolist(), "columns": centres[:columns, 1].tolist()},
            "looks": [told(look) for look in view.looks],
            "multiplications": view.multiplications,
            "references": [
                {
                    "name": reference.name,
                    "answer": self.explorer.text(reference.answer),
                    "probability": chance_of(reference.answer, reference.probabilities),
                    "entropy": reference.entropy,
                    "multiplications": reference.multiplications,
                }
                for reference in view.references
            ],
            "hand": hand
            and {
                "look": told(hand.look),
                "gradients": told(hand.gradients),
                "multiplications": hand.multiplications,
            },
            "sure": view.sure and vars(view.sure),
            "calibrated": dcn.entropy_below,
            "games": view.games,
            "yours": vars(view.your_score),
            "gradients": vars(view.gradients_score),
        }


class SweepWidget(_Widget):
    """The image of an explorer at every k at once; a click shows that k in the explorer."""

    _esm = _script("sweep.js")
    explorer = traitlets.Instance(Widget).tag(sync=True, **widget_serialization)

    def __init__(self, explorer: ExplorerWidget) -> None:
        super().__init__(explorer=explorer)


class RivalsWidget(_Widget):
    """How models that look in glimpses, by name, look at the image of an explorer: the widget chooses which, and up to
    which glimpse.

    models: with `attend(images)` whose boxes (B, T, 4) are the glimpses in their order.
    """

    _esm = _script("rivals.js")
    explorer = traitlets.Instance(Widget).tag(sync=True, **widget_serialization)
    looks: traitlets.List[Any] = traitlets.List().tag(sync=True)
    request = traitlets.Int().tag(sync=True)

    def __init__(self, explorer: ExplorerWidget, models: Mapping[str, Any]) -> None:
        self.models = dict(models)
        super().__init__(explorer=explorer)
        self._follow()
        explorer.observe(self._follow, "view")

    def _follow(self, _: object = None) -> None:
        view = self.explorer.view
        image = self.explorer.explorer.subject(Choices(**view["chosen"], invert=self.explorer.choices["invert"])).image
        with torch.no_grad():
            looks = {name: model.attend(image[None]) for name, model in self.models.items()}
        self.request = view["request"]
        self.looks = [
            {"name": name, "boxes": look.boxes[0].tolist(), "probabilities": look.logits[0].softmax(-1).tolist()}
            for name, look in looks.items()
        ]


class FinderWidget(_Widget):
    """Images that a look changes most, found in the explorer's data; a click loads one in the explorer.

    changes: what `find_changes` found for the explorer's model of name `model`. most: how many images of each kind.
    """

    _esm = _script("finder.js")
    explorer = traitlets.Instance(Widget).tag(sync=True, **widget_serialization)
    found = traitlets.Dict().tag(sync=True)

    def __init__(self, explorer: ExplorerWidget, changes: Changes, *, model: str, most: int = 8) -> None:
        def describe(index: int) -> dict[str, Any]:
            told = changes.before, changes.after, changes.labels
            before, after, truth = (explorer.explorer.text(answer_of(part[index])) for part in told)
            doubt = f"{changes.entropy_before[index]:.2f} → {changes.entropy_after[index]:.2f}"
            return {
                "index": index,
                "image": picture_url(explorer.explorer.data[index][0]),
                "caption": f"{before} → {after}",
                "doubt": doubt,
                "label": f"image {index}, a {truth}: {before} before, {after} after; entropy {doubt} nats",
            }

        groups = [
            {"title": title, "images": [describe(index) for index in numbers]}
            for title, numbers in changes.groups(most).items()
        ]
        found = {"k": changes.k, "model": model, "policy": PAPERS_POLICY, "groups": groups}
        super().__init__(explorer=explorer, found=found)


def _look(look: Look, explorer: Explorer, label: Answer | None) -> dict[str, Any]:
    """A look for the script: predictions as probabilities, position after position, and as what they say."""
    return {
        "said": [
            {"text": explorer.text(answer), "probability": chance_of(answer, probabilities)}
            for answer, probabilities in ((look.answer_before, look.before), (look.answer, look.after))
        ],
        "right": None if label is None else look.answer == label,
        "truth": None if label is None else chance_of(label, look.after),
        "cells": look.cells.tolist(),
        "boxes": look.boxes.tolist(),
        "saliencies": look.saliency.flatten()[look.cells].tolist(),
        "distances": look.distances.tolist(),
        "before": look.before.flatten().tolist(),
        "after": look.after.flatten().tolist(),
        "entropy_before": look.entropy_before,
        "entropy_after": look.entropy_after,
    }


def picture_url(image: Tensor) -> str:
    """An image (C, H, W) of 1 or 3 channels in [0, 1] as the address of a PNG that holds it."""
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return _png_url(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def map_url(values: Tensor, covered: Covered) -> str:
    """A map of one value per cell (s1, s2), from 0 on, in the colours of `plots.show_map`."""
    shown = plots.hide_uncovered(values, covered)
    return _png_url(plots.MAP_COLORS(shown / max(float(values.max()), 1e-12), bytes=True))


def _png_url(pixels: np.ndarray) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
