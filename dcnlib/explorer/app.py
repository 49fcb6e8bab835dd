"""The page of `python -m dcnlib explore`: the explorer, every k, the glimpses of RAM and DRAW, what a look changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, cast

import numpy as np
from ipywidgets import HTML, Dropdown, VBox, Widget
from torch import nn
from torch.utils.data import Subset

from dcnlib.analysis.looks import find_changes
from dcnlib.core.geometry import covered_size
from dcnlib.data.cluttered_mnist import load_cluttered
from dcnlib.data.house_numbers.svhn import locate_svhn
from dcnlib.explorer.state import Explorer
from dcnlib.explorer.widgets import FOLDER, ExplorerWidget, FinderWidget, RivalsWidget, SweepWidget
from dcnlib.models.pretrained import Trained, load_pretrained, load_trained, network_of_one_map
from dcnlib.models.tasks import CLUTTERED_MNIST, HouseNumbersTask


@dataclass(frozen=True)
class Shipped:
    """What is shipped for images of a task, by the names under which it is shown: DCNs to choose from, and single
    models that say something of the same image, the last of which is what a look's price is told in."""

    dcns: Mapping[str, str] = field(default_factory=dict)
    single: Mapping[str, str] = field(default_factory=dict)


DIGITS = Shipped(
    dcns={
        "DCN with hints": "dcn-k8-hints",
        "DCN without hints": "dcn-k8-no-hints",
        "DCN for every k": "dcn-every-k",
        "perturbed top-k": "perturbed-topk",
    },
    single={"coarse model": "coarse", "RAM": "ram", "DRAW": "draw", "fine model": "fine"},
)
PHOTOGRAPHED = "house-numbers-dcn-k8"
NUMBER_DCNS = {
    PHOTOGRAPHED: "house numbers",
    "rendered-numbers-dcn-k8": "rendered house numbers",
}
# Of photographs; rendered numbers are others.
NUMBERS = Shipped(single={"coarse model": "house-numbers-coarse", "fine model": "house-numbers-fine"})
GLIMPSING = ("RAM", "DRAW")  # of the single models, whose looks are shown
FIRST_IMAGE = 141  # whose answer the look changes
FOUND_AMONG = 1000  # images, so that a page doesn't take long to come
HEAD = """<h1>Where would you look?</h1>
<p>A Dynamic Capacity Network reads the whole picture coarsely, and a few patches of it closely. Click where
<em>you</em> would look; then compare with the gradient, which looks where more detail would change the answer.</p>"""


def page(source: str | Path = "") -> VBox:
    """All that the page shows, with a choice of pictures: digits, house numbers, and those of the source.

    source: a DCN to begin with, as `load_trained` takes it; one of other images than Cluttered MNIST is shown on its
    validation images, beside single models if such are shipped.
    """
    style = f"<style>{(FOLDER / 'page.css').read_text()}</style>"
    head, pictures = HTML(style + HEAD), Dropdown(description="Pictures", options=_pictures(str(source)))
    pictures.value = str(source)
    whole = VBox([head, pictures, *_parts(source)]).add_class("dcn-page")

    def show(change: dict[str, Any]) -> None:
        pictures.disabled = True
        try:
            whole.children = [head, pictures, *_parts(change["new"])]
        except (OSError, ValueError) as error:  # of files, which are read now for the first time
            whole.children = [head, pictures, HTML(f"<p>{escape(str(error))}</p>")]
        finally:
            pictures.disabled = False

    pictures.observe(show, "value")
    return whole


def _pictures(source: str) -> list[tuple[str, str]]:
    """What there is to choose from, each with the model that it begins with: the one asked for stands first."""
    found = {"": "digits in clutter", **NUMBER_DCNS}
    try:
        locate_svhn("train")
    except FileNotFoundError:
        del found[PHOTOGRAPHED]
    if source and source not in found:
        trained = load_trained(source)
        digits = trained.task == CLUTTERED_MNIST
        found = {source: f"{found.pop('') if digits else trained.task.name}: {trained.name}"} | found
    return [(title, begins_with) for begins_with, title in found.items()]


def _parts(source: str | Path) -> list[Widget]:
    """The widgets for a source, the explorer first."""
    trained = load_trained(source) if source else None
    shipped = _shipped_beside(trained)
    digits = shipped is DIGITS
    task = CLUTTERED_MNIST if trained is None else trained.task
    data = load_cluttered("all", source="embedded") if trained is None else trained.load_data()
    sources = {} if trained is None else {trained.name: trained}
    sources |= {name: load_trained(shipped_name) for name, shipped_name in shipped.dcns.items()}
    shown = {name: network_of_one_map(model) for name, model in sources.items()}
    name, dcn = next(iter(shown.items()))
    single = {title: load_pretrained(shipped_name) for title, shipped_name in shipped.single.items()}

    explorer = Explorer(shown, data, single, task=task)
    index = min(FIRST_IMAGE, len(data) - 1)
    covered = None
    if isinstance(dcn.top, nn.Sequential):  # other top layers leave no margin of cells out
        rows, columns = dcn.attend(data[0][0][None], k=0).coarse_map.shape[2:]
        covered = covered_size(dcn.top[0], rows), covered_size(dcn.top[0], columns)
    widget = ExplorerWidget(explorer, index=index, covered=covered, playing=True)
    some = Subset(cast(Any, data), cast(Sequence[int], np.arange(min(len(data), FOUND_AMONG))))
    finder = FinderWidget(widget, find_changes(dcn, some), model=name)
    rivals = [RivalsWidget(widget, {name: single[name] for name in GLIMPSING})] if digits else []
    return [widget, SweepWidget(widget), *rivals, finder]


def _shipped_beside(trained: Trained | None) -> Shipped:
    if trained is None or trained.task == CLUTTERED_MNIST:
        return DIGITS
    return NUMBERS if trained.task == HouseNumbersTask() and trained.source == "svhn" else Shipped()
