"""The page of `python -m dcnlib explore`: the explorer, every k, the glimpses of RAM and DRAW, what a look changes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from ipywidgets import HTML, VBox
from torch import nn
from torch.utils.data import Subset

from dcnlib.analysis.looks import find_changes
from dcnlib.core.geometry import covered_size
from dcnlib.data.cluttered_mnist import load_cluttered
from dcnlib.explorer.state import Explorer
from dcnlib.explorer.widgets import FOLDER, ExplorerWidget, FinderWidget, RivalsWidget, SweepWidget
from dcnlib.models.pretrained import load_pretrained, load_trained, network_of_classes
from dcnlib.models.tasks import CLUTTERED_MNIST

DCNS = {
    "DCN with hints": "dcn-k8-hints",
    "DCN without hints": "dcn-k8-no-hints",
    "DCN for every k": "dcn-every-k",
    "perturbed top-k": "perturbed-topk",
}
# What single models say of the same image; the last one is what a look's price is told in.
SINGLE = {"coarse model": "coarse", "RAM": "ram", "DRAW": "draw", "fine model": "fine"}
GLIMPSING = ("RAM", "DRAW")  # of these, whose looks are shown
FIRST_IMAGE = 141  # whose answer the look changes
FOUND_AMONG = 1000  # images, so that a page doesn't take long to come
HEAD = """<h1>Where would you look?</h1>
<p>A Dynamic Capacity Network reads the whole picture coarsely, and a few patches of it closely. Click where
<em>you</em> would look; then compare with the gradient, which looks where more detail would change the answer.</p>"""


def page(source: str | Path = "") -> VBox:
    """All that the page shows. source: a DCN of one's own to begin with, as `load_trained` takes it; one of other
    images than Cluttered MNIST is shown alone, on its validation images."""
    trained = load_trained(source) if source else None
    task = CLUTTERED_MNIST if trained is None else trained.task
    digits = task == CLUTTERED_MNIST
    data = load_cluttered("all", source="embedded") if trained is None else trained.load_data()
    sources = {} if trained is None else {trained.name: trained}
    sources |= {name: load_trained(shipped) for name, shipped in (DCNS if digits else {}).items()}
    shown = {name: network_of_classes(model) for name, model in sources.items()}
    name, dcn = next(iter(shown.items()))
    single = {title: load_pretrained(shipped) for title, shipped in (SINGLE if digits else {}).items()}
    rows, columns = dcn.attend(data[0][0][None], k=0).coarse_map.shape[2:]

    explorer = Explorer(shown, data, single, task=task)
    index = min(FIRST_IMAGE, len(data) - 1)
    window = cast(nn.Sequential, dcn.top)[0]
    covered = covered_size(window, rows), covered_size(window, columns)
    widget = ExplorerWidget(explorer, index=index, covered=covered, playing=True)
    some = Subset(cast(Any, data), cast(Sequence[int], np.arange(min(len(data), FOUND_AMONG))))
    finder = FinderWidget(widget, find_changes(dcn, some), model=name)
    style = f"<style>{(FOLDER / 'page.css').read_text()}</style>"
    rivals = [RivalsWidget(widget, {name: single[name] for name in GLIMPSING})] if digits else []
    return VBox([HTML(style + HEAD), widget, SweepWidget(widget), *rivals, finder]).add_class("dcn-page")
