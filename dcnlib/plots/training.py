"""A training in view: the terms of the loss, and the vectors of the chosen cells."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from dcnlib.plots import BLUE, GREEN, GREY, MODELS, PURPLE, VERMILLION

History = Mapping[str, Any]  # by name of a part of the loss, a value for each step


def plot_training(history: History, *, guess: float, mark: int) -> Figure:
    """Cross-entropy, hint, lengths and agreement of the chosen cells' vectors at each step, in a new figure.

    guess: the cross-entropy of a blind guess. mark: a step to mark.
    """
    figure, row = plt.subplots(1, 4, figsize=(15, 2.9), layout="constrained")
    for axes, name, words, color in (
        (row[0], "cross_entropy", "cross-entropy, nats", BLUE),
        (row[1], "hint", "hint", PURPLE),
    ):
        _plot(axes, history[name], color)
        axes.set(ylabel=words)
    row[0].axhline(guess, color="black", linestyle=":", linewidth=1)
    plot_lengths(row[2], history)
    plot_agreement(row[3], history)
    for axes in row:
        axes.axvline(mark, color="black", linestyle=":", linewidth=1)
        axes.set_ylim(0, None)
    return figure


def plot_lengths(axes: Axes, history: History) -> Axes:
    """The mean lengths of the chosen cells' coarse and fine vectors at each step."""
    for kind in ("coarse", "fine"):
        _plot(axes, history[f"{kind}_length"], MODELS[kind], f"{kind} vectors")
    axes.set(ylabel="mean length")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    return axes


def plot_agreement(axes: Axes, history: History) -> Axes:
    """At each step, the cosine of coarse and fine vectors, and their distance in units of the fine ones' length."""
    _plot(axes, history["cosine"], GREEN, "cosine")
    _plot(axes, history["distance"] / history["fine_length"], VERMILLION, "distance / fine length")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    return axes


def plot_pairs(pairs: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]], rows: Mapping[str, str]) -> Figure:
    """Histograms of the relative distance and the cosine of pairs of vectors, with their medians, in a new figure.

    pairs: both, by row and group. rows: what stands beside each row. The last bin holds all that lies beyond it.
    """
    figure, grid = plt.subplots(
        len(rows), 2, figsize=(11, 2.5 * len(rows)), layout="constrained", sharex="col", sharey="col", squeeze=False
    )
    colors = {"chosen": PURPLE, "passed over": VERMILLION, "unrelated": GREY}
    for line, (row, words) in zip(grid, rows.items(), strict=True):
        for column, bins in enumerate((np.linspace(0, 2.5, 51), np.linspace(0, 1, 51))):
            for group, color in colors.items():
                shown = pairs[row, group][column].clip(bins[0], bins[-1])
                line[column].hist(shown, bins, color=color, histtype="step", linewidth=1.8, density=True, label=group)
                line[column].axvline(np.median(shown), color=color, linestyle=":", linewidth=1.5)
            line[column].set_yticks([])
        line[0].set_ylabel(words)
    grid[0, 0].legend(frameon=False, fontsize=9)
    grid[-1, 0].set_xlabel(r"relative distance $\Vert c - f \Vert \, / \, \Vert f \Vert$")
    grid[-1, 1].set_xlabel("cosine of the angle between $c$ and $f$")
    return figure


def plain_log_axis(axes: Axes) -> Axes:
    """A logarithmic vertical axis with plain numbers at 1, 2, 5, 10 and so on."""
    axes.set(yscale="log")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    return axes


def _plot(axes: Axes, values: np.ndarray, color: str, label: str | None = None) -> None:
    axes.plot(np.arange(1, len(values) + 1), values, color=color, linewidth=1, label=label)
    axes.set(xlabel="step")
    axes.grid(alpha=0.3)
