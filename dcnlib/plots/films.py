"""Films: one image with more and more patches, and where a network looks while it is trained."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from dcnlib.core.dcn import Attention, DynamicCapacityNetwork
from dcnlib.core.geometry import Geometry
from dcnlib.core.patches import replace_cells
from dcnlib.core.saliency import entropy
from dcnlib.plots import BLUE, paint_maps, show_image, show_map, show_patch_places, show_prediction
from dcnlib.plots.saving import animate
from dcnlib.plots.training import plot_agreement, plot_lengths


@torch.no_grad()
def film_of_patches(model: DynamicCapacityNetwork, image: Tensor, label: int, *, most: int = 32) -> bytes:
    """A GIF of an image (C, H, W) with 0, 1, ..., `most` patches, or with as many as there are if these are fewer: what
    they see, the refined map (similar vectors in similar colours), the first prediction and the refined one, and the
    entropy of each."""
    most = min(most, model.attend(image[None], k=0).saliency.numel())
    look = model.attend(image[None], k=most)
    logits = [*model.sweep(image[None], range(most + 1), cells=look.cells).values()]
    doubt = [entropy(scores).item() for scores in logits]
    refined = [replace_cells(look.coarse_map, look.cells[:, :k], look.fine_vectors[:, :k])[0] for k in range(most + 1)]
    painted, width = paint_maps(*refined), look.coarse_map.shape[3]
    figure, row = plt.subplots(1, 4, figsize=(12, 3), layout="constrained", width_ratios=[1, 1, 1.2, 1.2])

    def draw(k: int) -> None:
        for axes in row:
            axes.clear()
        if k:
            show_patch_places(row[0], image, look.cells[0, :k], model.geometry, width, f"k = {k}")
        else:
            show_image(row[0], image, "k = 0: the first look")
            row[0].set(xlim=(-3, image.shape[2] + 3), ylim=(image.shape[1] + 3, -3))
        show_image(row[1], painted[k], "refined map")
        show_prediction(row[2], logits[0][0], logits[k][0], label, f"answer {int(logits[k].argmax())}, truth {label}")
        row[3].plot(range(k + 1), doubt[: k + 1], color=BLUE, marker=".")
        row[3].set(xlim=(-1, most + 1), ylim=(0, 1.1 * max(doubt)), xlabel="patches", ylabel="entropy, nats")

    film = animate(figure, draw, most + 1, seconds=0.4)
    plt.close(figure)
    return film


def film_of_training(
    images: Tensor, looks: Mapping[int, Attention], history: Mapping[str, Any], geometry: Geometry
) -> bytes:
    """A GIF of where a network looks in images (B, C, H, W) at some steps of its training: what its patches see, above
    the saliency (each on its own scale); beside them, lengths and cosine of the chosen cells' vectors up to that step.

    looks: what it saw, by the number of steps before. history: by name of `vector_curves`, a value for each step.
    """
    count = len(images)
    names: Any = [
        [*(f"image {b}" for b in range(count)), "lengths"],
        [*(f"map {b}" for b in range(count)), "agreement"],
    ]
    figure, axes = plt.subplot_mosaic(
        names, figsize=(2.2 * count + 3.6, 4.6), layout="constrained", width_ratios=[1] * count + [1.6]
    )
    steps, width = [*looks], next(iter(looks.values())).coarse_map.shape[3]

    def draw(frame: int) -> None:
        step, look = steps[frame], looks[steps[frame]]
        for each in axes.values():
            each.clear()
        for b, image in enumerate(images):
            show_patch_places(axes[f"image {b}"], image, look.cells[b].cpu(), geometry, width)
            show_map(axes[f"map {b}"], look.saliency[b].cpu())
        axes["image 0"].set_title(f"after {step} steps", fontsize=10, loc="left")
        axes["map 0"].set_title("saliency", fontsize=10, loc="left")
        so_far = {name: np.asarray(values)[:step] for name, values in history.items()}
        plot_lengths(axes["lengths"], so_far)
        plot_agreement(axes["agreement"], so_far)
        longest = max(np.max(history["coarse_length"]), np.max(history["fine_length"]))
        axes["lengths"].set(xlim=(0, steps[-1]), ylim=(0, 1.1 * longest))
        axes["agreement"].set(xlim=(0, steps[-1]), ylim=(0, 2))

    film = animate(figure, draw, len(steps), seconds=0.5)
    plt.close(figure)
    return film
