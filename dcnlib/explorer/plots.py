"""The explorer's pictures for readers without a kernel: the views of the three widgets, drawn by matplotlib."""

from typing import cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor

from dcnlib import plots
from dcnlib.analysis.looks import Changes, Look
from dcnlib.explorer.state import View
from dcnlib.training.evaluation import Data


def show_view(view: View, k: int, *, covered: int | None = None) -> Figure:
    """The explorer at one k, in a new figure: patches, saliency, predictions; distances, entropies, multiplications.

    Of models that answer with a class.
    """
    look, subject = view.looks[k], view.subject
    figure, grid = plt.subplots(2, 3, figsize=(12, 6.2), layout="constrained", height_ratios=[2, 1])
    show_look(grid[0, 0], subject.image, look, f"{subject.title}, k = {k}")
    plots.show_map(grid[0, 1], look.saliency, "saliency of each cell", covered=covered)
    truth = "" if subject.label is None else f", truth {subject.label}"
    title = f"{look.answer_before} before, {look.answer} after{truth}"
    plots.show_prediction(grid[0, 2], look.before.log(), look.after.log(), cast(int | None, subject.label), title)
    grid[1, 0].bar(np.arange(1, k + 1), look.distances.numpy(), color=plots.GREEN)
    grid[1, 0].set(xlim=(0.4, max(k, 1) + 0.6), xlabel="patch", ylabel="coarse–fine distance")
    entropies = {"refined": look.entropy_after, "coarse": look.entropy_before}
    show_bars(grid[1, 1], entropies, [plots.BLUE, plots.SKY], "{:.3f}", "entropy, nats")
    costs = {model.name: model.multiplications / 1e6 for model in view.references}
    costs["this look"] = view.multiplications[k] / 1e6
    colors = [plots.MODELS.get(model.name.removesuffix(" model"), plots.GREY) for model in view.references]
    show_bars(grid[1, 2], costs, [*colors, plots.BLUE], "{:.1f}", "multiplications, millions")
    return figure


def show_sweep(view: View, *, columns: int = 11) -> Figure:
    """The image of a view at every k, in a new figure: answer (and entropy in nats), wrong ones in another colour."""
    rows = -(-len(view.looks) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(1.25 * columns, 1.5 * rows), layout="constrained")
    for axes in grid.flat:
        axes.set_axis_off()
    for k, (axes, look) in enumerate(zip(grid.flat, view.looks, strict=False)):
        title = f"k = {k}: {look.answer} ({look.entropy_after:.2f})"
        show_look(axes, view.subject.image, look, title, numbers=False)
        axes.title.set(fontsize=8, color="black" if look.answer == view.subject.label else plots.VERMILLION)
    return figure


def show_changes(changes: Changes, data: Data, *, most: int = 8) -> Figure:
    """The images that a look changes most, a row for each kind, in a new figure."""
    groups = changes.groups(most)
    figure, grid = plt.subplots(len(groups), most, figsize=(1.5 * most, 1.95 * len(groups)), layout="constrained")
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (title, numbers) in zip(grid, groups.items(), strict=True):
        row[0].set_title("none", fontsize=8)
        for axes, n in zip(row, numbers, strict=False):
            doubts = f"{changes.entropy_before[n]:.2f} → {changes.entropy_after[n]:.2f} nats"
            plots.show_image(axes, data[n][0])
            axes.set_title(f"{n}: {changes.before[n]} → {changes.after[n]}\n{doubts}", fontsize=8)
        row[0].text(-0.12, 0.5, title, transform=row[0].transAxes, fontsize=9, rotation=90, ha="right", va="center")
    return figure


def show_look(axes: Axes, image: Tensor, look: Look, title: str = "", *, numbers: bool = True) -> Axes:
    """An image with the patches of a look outlined together, the rest dimmed, a number in the middle of each patch."""
    plots.show_image(axes, image, title)
    if look.k:
        plots.draw_outline(axes, look.boxes, dim=0.5)
    for number, (top, left, bottom, right) in enumerate(look.boxes.tolist() if numbers else [], start=1):
        place = (left + right) / 2, (top + bottom) / 2
        text = axes.text(*place, str(number), color=plots.ORANGE, fontsize=8, weight="bold", ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])  # legible on white strokes too
    return axes


def show_bars(axes: Axes, values: dict[str, float], colors: list[str], form: str, xlabel: str) -> Axes:
    """Named amounts as bars, the last on top, each with its figure."""
    bars = axes.barh(list(values), list(values.values()), color=colors)
    axes.bar_label(bars, labels=[form.format(value) for value in values.values()], padding=3, fontsize=9)
    axes.set(xlabel=xlabel, xlim=(0, 1.2 * max(values.values())))
    axes.spines[["top", "right"]].set_visible(False)
    return axes
