"""Pictures for notebooks and README. Functions draw on Axes and return them; only `save_...` functions write."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from dcnlib.core.dcn import Attention, DynamicCapacityNetwork
from dcnlib.core.geometry import Geometry
from dcnlib.data.house_numbers.numbers import NO_DIGIT
from dcnlib.plots.saving import animate as animate
from dcnlib.plots.saving import save_animation as save_animation
from dcnlib.plots.saving import save_figure as save_figure
from dcnlib.utils.records import Record
from dcnlib.utils.statistics import ErrorRate

# Okabe and Ito's colours, distinct for colour-blind readers too.
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE, GREY = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#999999",
)
# One colour a model, wherever several stand in one picture. What a coarse pass makes has the coarse model's colour,
# patches and what the fine layers make of them the fine model's.
MODELS = {
    "coarse": SKY,
    "fine": ORANGE,
    "dcn-k8-hints": BLUE,
    "dcn-k8-no-hints": GREEN,
    "ram": PURPLE,
    "draw": VERMILLION,
    "perturbed-topk": "#000000",
    "soft-attention": GREY,
    "dcn-every-k": "#882255",
}
MAP_COLORS = plt.get_cmap("viridis").with_extremes(bad="#bbbbbb")


def show_image(axes: Axes, image: Tensor | np.ndarray, title: str = "") -> Axes:
    """An image (C, H, W) with 1 or 3 channels, or (H, W), in [0, 1] or uint8, pixel (0, 0) at the top left."""
    pixels = np.asarray(image)
    if pixels.ndim == 3:
        pixels = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    white = 255 if pixels.dtype == np.uint8 else 1
    height, width = pixels.shape[:2]
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=white, interpolation="nearest", extent=(0, width, height, 0))
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
    return axes


def draw_boxes(axes: Axes, boxes: Tensor, *, color: str = ORANGE, numbers: bool = False, width: float = 1.5) -> Axes:
    """Outline boxes (n, 4) top, left, bottom, right in pixels on an image drawn by `show_image`."""
    for number, (top, left, bottom, right) in enumerate(boxes.tolist(), start=1):
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=color, linewidth=width))
        if numbers:
            text = axes.text(left + 1, top + 1, str(number), color=color, fontsize=7, va="top", clip_on=True)
            text.set(fontweight="bold", path_effects=[withStroke(linewidth=2, foreground="black")])
    return axes


def draw_path(axes: Axes, places: Tensor) -> Axes:
    """Join places (n, 2), y and x in pixels, that were looked at in turn; points from dark (first) to yellow (last)."""
    y, x = places.numpy().T
    axes.plot(x, y, color="white", linewidth=0.8, alpha=0.8)
    axes.scatter(x, y, c=np.arange(len(x)), cmap="plasma", s=22, edgecolors="white", linewidths=0.5, zorder=3)
    return axes


def draw_outline(axes: Axes, boxes: Tensor, *, color: str = ORANGE, dim: float = 0.0) -> Axes:
    """The common outline of boxes (n, 4) in pixels, within the Axes' limits; what lies outside is darkened by `dim`."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    inside = pixels_inside(boxes, range(int(top), int(bottom)), range(int(left), int(right))).numpy()
    shade = np.where(inside[..., None], 0.0, [0.0, 0.0, 0.0, dim])
    axes.imshow(shade, extent=(left, right, bottom, top), interpolation="nearest")
    if inside.any() and not inside.all():  # matplotlib warns of a contour without a border
        rows, columns = np.arange(top, bottom) + 0.5, np.arange(left, right) + 0.5
        axes.contour(columns, rows, inside, levels=[0.5], colors=color, linewidths=1.8)
    return axes


def pixels_inside(boxes: Tensor, rows: range, columns: range) -> Tensor:
    """Which pixels of some rows and columns lie in at least one of boxes (..., n, 4): (..., rows, columns) bool."""
    y, x = torch.tensor(rows), torch.tensor(columns)
    inside = torch.zeros(*boxes.shape[:-2], len(rows), len(columns), dtype=torch.bool)
    for box in boxes.unbind(-2):
        top, left, bottom, right = (edge[..., None] for edge in box.unbind(-1))
        inside |= ((y >= top) & (y < bottom))[..., :, None] & ((x >= left) & (x < right))[..., None, :]
    return inside


def show_searchlight(axes: Axes, image: Tensor, boxes: Tensor, title: str = "") -> Axes:
    """An image (1, H, W) as it is within boxes (n, 4) in pixels, on a blue ground, and dimmed elsewhere."""
    height, width = image.shape[-2:]
    lit = pixels_inside(boxes, range(height), range(width)).float()
    ground = torch.tensor([0.0, 0.25, 0.45])[:, None, None]
    return show_image(axes, torch.maximum(image * (0.35 + 0.65 * lit), ground * lit), title)


def show_patch_places(
    axes: Axes, image: Tensor, cells: Tensor, geometry: Geometry, map_width: int, title: str = ""
) -> Axes:
    """An image with what its chosen cells (k,) see: outlined together, the first patch framed, the rest dimmed."""
    show_image(axes, image, title)
    height, width = image.shape[-2:]
    axes.set(xlim=(-3, width + 3), ylim=(height + 3, -3))  # patches may reach a few pixels over the border
    axes.set_facecolor("#333333")
    boxes = geometry.boxes(cells, map_width)
    draw_outline(axes, boxes, dim=0.5)
    return draw_boxes(axes, boxes[:1], color=VERMILLION, width=1.0)


def hide_uncovered(values: Tensor, covered: int | tuple[int, int] | None) -> np.ndarray:
    """A map (s1, s2) with NaN from row and column `covered` on, one number or two: grey in `MAP_COLORS`."""
    shown = values.detach().numpy().astype(float)  # a copy
    if covered is not None:
        row, column = (covered, covered) if isinstance(covered, int) else covered
        shown[row:], shown[:, column:] = np.nan, np.nan
    return shown


def paint_maps(*maps: Tensor) -> list[Tensor]:
    """Maps of vectors (D, s1, s2) as colours (3, s1, s2): the first three principal components of all their vectors
    taken together, so that similar vectors get similar colours."""
    vectors = torch.cat([each.detach().flatten(1).T for each in maps])
    vectors = vectors - vectors.mean(0)
    colors = vectors @ torch.linalg.svd(vectors, full_matrices=False)[2][:3].T
    low, high = colors.quantile(0.01, dim=0), colors.quantile(0.99, dim=0)
    colors = ((colors - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    parts = colors.split([each[0].numel() for each in maps])
    return [part.T.reshape(3, *each.shape[1:]) for part, each in zip(parts, maps, strict=True)]


def show_map(axes: Axes, values: Tensor, title: str = "", *, covered: int | None = None) -> Axes:
    """A map of one value per cell (s1, s2), such as saliency. Cells from row or column `covered` on are greyed: they
    never reach the output (see `covered_size`)."""
    axes.imshow(hide_uncovered(values, covered), cmap=MAP_COLORS, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
    return axes


def show_patches(axes: Axes, patches: Tensor, title: str = "", *, columns: int = 4) -> Axes:
    """Patches (k, C, p, q) of one image side by side in rows of `columns`, most salient first."""
    count, channels, height, width = patches.shape
    columns = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    sheet = np.ones((channels, rows * (height + 1) - 1, columns * (width + 1) - 1))
    for number, patch in enumerate(np.asarray(patches.detach())):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        sheet[:, top : top + height, left : left + width] = patch
    return show_image(axes, sheet, title)


def show_prediction(axes: Axes, before: Tensor, after: Tensor, label: int | None = None, title: str = "") -> Axes:
    """Class probabilities of one image before and after, from logits (L,), as bars; the true class is bold."""
    classes = np.arange(len(before))
    axes.bar(classes - 0.2, before.detach().softmax(-1).numpy(), 0.4, color=SKY, label="coarse")
    axes.bar(classes + 0.2, after.detach().softmax(-1).numpy(), 0.4, color=BLUE, label="refined")
    axes.set(xticks=classes, ylim=(0, 1.02), xlabel="class", ylabel="probability")
    if label is not None:
        axes.get_xticklabels()[label].set_fontweight("bold")
        axes.get_xticklabels()[label].set_color(VERMILLION)
    axes.legend(fontsize=8, frameon=False)
    axes.set_title(title, fontsize=10)
    return axes


def show_sequence(axes: Axes, before: Tensor, after: Tensor, labels: Tensor, title: str = "") -> Axes:
    """Class probabilities at each position of a house number before and after, from logits (P, L), as shades of blue.

    A row is a class, the last one "no digit". A position is a pair of columns, before and after; the true class (P,) is
    framed across the pair.
    """
    positions, classes = before.shape
    pairs = torch.stack([before, after], dim=1).detach().softmax(-1)  # (P, 2, L)
    axes.imshow(pairs.flatten(0, 1).T.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for position, label in enumerate(labels.tolist()):
        axes.axvline(2 * position - 0.5, color=GREY, linewidth=1)
        axes.add_patch(
            Rectangle((2 * position - 0.45, label - 0.5), 1.9, 1, fill=False, edgecolor=VERMILLION, linewidth=1.5)
        )
    names = ["none" if index == NO_DIGIT else str(index) for index in range(classes)]
    axes.set(yticks=range(classes), yticklabels=names, ylabel="digit", xlabel="position: before, after")
    axes.set_xticks(2 * np.arange(positions) + 0.5, [str(position + 1) for position in range(positions)])
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=10)
    return axes


def show_attention(
    model: DynamicCapacityNetwork, images: Tensor, labels: Tensor, attention: Attention, *, covered: int | None = None
) -> np.ndarray:
    """One row an image: the image with its patches, the saliency map, the patches, the prediction before and after.

    Returns the Axes as an array (B, 4) of a new figure.
    """
    rows = len(images)
    _, grid = plt.subplots(
        rows, 4, figsize=(12, 2.9 * rows), squeeze=False, layout="constrained", width_ratios=[1, 1, 1.3, 1.5]
    )
    width = attention.coarse_map.shape[3]
    for b, row in enumerate(grid):
        own = attention.cells[b] >= 0  # behind the last patch of an image that has fewer than others
        cells, title = attention.cells[b][own], f"image and its {int(own.sum())} patches"
        show_patch_places(row[0], images[b], cells, model.geometry, width, title)
        show_map(row[1], attention.saliency[b], f"saliency (entropy {attention.entropy[b]:.2f} nats)", covered=covered)
        show_patches(row[2], attention.patches[b][own], "patches, most salient first")
        before, after = attention.coarse_logits[b], attention.logits[b]
        title = f"{int(before.argmax())} before, {int(after.argmax())} after, truth {int(labels[b])}"
        show_prediction(row[3], before, after, int(labels[b]), title)
    return grid


def plot_curves(axes: Axes, records: Mapping[str, Record], curve: str, *, ylabel: str, scale: float = 1) -> Axes:
    """One of the recorded curves of several runs against the epoch, by label, in the colours of `MODELS`."""
    others = iter((BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY))
    for label, record in records.items():
        color = MODELS.get(record["name"]) or next(others)
        values = scale * np.array(record["curves"][curve])
        axes.plot(np.arange(1, len(values) + 1), values, marker="o", markersize=3, color=color, label=label)
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    return axes


def plot_errors(
    axes: Axes, x: Sequence[float], rates: Sequence[ErrorRate], *, label: str, color: str = BLUE, marker: str = "o"
) -> Axes:
    """Error rates in % with their 95 % intervals against any quantity."""
    errors = np.array([100 * rate.fraction for rate in rates])
    low, high = (100 * np.array(bounds) for bounds in zip(*(rate.interval for rate in rates), strict=True))
    bars = np.clip([errors - low, high - errors], 0, None)
    axes.errorbar(x, errors, yerr=bars, label=label, color=color, marker=marker, capsize=2, markersize=4, linewidth=1.2)
    axes.set(ylabel="error in %")
    axes.grid(alpha=0.3)
    return axes
