"""The page of `python -m dcnlib explore`: the explorer, below it every k at once and images that a look changes."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from ipywidgets import HTML, VBox
from torch.utils.data import Subset

from dcnlib.analysis.looks import find_changes
from dcnlib.core.geometry import covered_size
from dcnlib.data.cluttered_mnist import ClutteredMNIST, load_cluttered
from dcnlib.explorer.state import Explorer
from dcnlib.explorer.widgets import FOLDER, ExplorerWidget, FinderWidget, SweepWidget
from dcnlib.models.cluttered_mnist import TopLayers
from dcnlib.models.pretrained import load_pretrained, load_trained, network_of_digits

DCNS = {"DCN with hints": "dcn-k8-hints", "DCN without hints": "dcn-k8-no-hints", "perturbed top-k": "perturbed-topk"}
# What single models say of the same image; the last one is what a look's price is told in.
SINGLE = {"coarse model": "coarse", "RAM": "ram", "DRAW": "draw", "fine model": "fine"}
FIRST_IMAGE = 141  # whose answer the look changes
FOUND_AMONG = 1000  # images, so that a page doesn't take long to come
HEAD = """<h1>Where would you look?</h1>
<p>A Dynamic Capacity Network reads the whole picture coarsely, and a few patches of it closely. Click where
<em>you</em> would look; then compare with the gradient, which looks where more detail would change the answer.</p>"""


def page(source: str | Path = "") -> VBox:
    """All that the page shows. source: a DCN of one's own to begin with, as `load_trained` takes it."""
    shown = {name: network_of_digits(load_trained(shipped)) for name, shipped in DCNS.items()}
    data = load_cluttered("all", source="embedded")
    if source:
        trained = load_trained(source)
        shown = {trained.name: network_of_digits(trained)} | shown
        data = cast(ClutteredMNIST, trained.load_data())
    name, dcn = next(iter(shown.items()))
    top = cast(TopLayers, dcn.top)
    single = {title: load_pretrained(shipped) for title, shipped in SINGLE.items()}
    rows, _ = dcn.attend(data[0][0][None], k=0).coarse_map.shape[2:]

    explorer = Explorer(shown, data, single)
    index = min(FIRST_IMAGE, len(data) - 1)
    widget = ExplorerWidget(explorer, index=index, covered=covered_size(top[0], rows), playing=True)
    some = Subset(data, cast(Sequence[int], np.arange(min(len(data), FOUND_AMONG))))
    finder = FinderWidget(widget, find_changes(dcn, some), model=name)
    style = f"<style>{(FOLDER / 'page.css').read_text()}</style>"
    return VBox([HTML(style + HEAD), widget, SweepWidget(widget), finder]).add_class("dcn-page")
