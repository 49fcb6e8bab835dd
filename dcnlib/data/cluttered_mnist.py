"""Cluttered MNIST by the rules of the original generator (deepmind/mnist-cluttered), seeded and vectorised."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from dcnlib.data.digits import Digits, Source, Split, load_digits
from dcnlib.data.vectorised import VectorisedImages
from dcnlib.utils.checks import Indices, checked_indices

# The project's own sets, on which every recorded error was measured. Training clutter comes from the run's seed.
SEEDS: dict[Split, int] = {"train": 0, "validation": 1_000_001, "all": 1_000_001, "test": 1_000_002}


@dataclass(frozen=True)
class ClutterRules:
    """The generator's parameters; the defaults are those of the 100x100 task.

    size: side of the square canvas in pixels. distractors: how many digit fragments. crop: their side in pixels.
    """

    size: int = 100
    distractors: int = 8
    crop: int = 8

    def __post_init__(self) -> None:
        if self.size < 1 or self.crop < 1 or not 0 <= self.distractors <= 256:
            raise ValueError(f"size and crop must be positive and distractors 0..256, got {self}")


class ClutteredMNIST(VectorisedImages):
    """One cluttered image for each digit: fragments of other digits, then one whole digit, on a black canvas.

    Rules, in order: a black canvas; `distractors` fragments, each a `crop` x `crop` window at a uniformly random place
    of a uniformly random digit of the same set, added at a uniformly random place; clamp to white; digit i, whole,
    added at a uniformly random place; clamp.

    `data[i]` gives (image (1, size, size) float32 in [0, 1], label); `data[indices]` a batch of them, rendered at once.
    Image i depends on the digits, the seed, the epoch and i alone, not on what else is asked for, and is the same on
    every machine: the draws come from `numpy.random.RandomState`, whose stream is frozen, and the pixels are integers.

    With `fresh`, `at_epoch(e)` draws new clutter and places for each epoch, where the paper's set is fixed.
    """

    def __init__(
        self,
        digits: Digits,
        *,
        rules: ClutterRules = ClutterRules(),
        seed: int = 0,
        fresh: bool = False,
        epoch: int = 0,
    ) -> None:
        height, width = digits.images.shape[1:]
        if max(height, width) > rules.size or rules.crop > min(height, width, rules.size):
            raise ValueError(
                f"digits of {height}x{width} pixels and fragments of {rules.crop} don't fit on a canvas of {rules.size}"
            )
        if seed < 0 or epoch < 0:
            raise ValueError(f"seed and epoch must not be negative, got {seed} and {epoch}")
        self.digits, self.rules = digits, rules
        self.seed, self.fresh, self.epoch = seed, fresh, epoch
        self._draw()

    def _draw(self) -> None:
        """Draw every random number of the epoch; row i of the table holds those of image i."""
        count, rules = len(self.digits), self.rules
        height, width = self.digits.images.shape[1:]
        # One column a number to draw; each row of the table gives how many values that number can take.
        fragment = [
            count,
            height - rules.crop + 1,
            width - rules.crop + 1,
            rules.size - rules.crop + 1,
            rules.size - rules.crop + 1,
        ]
        limits = np.array(fragment * rules.distractors + [rules.size - height + 1, rules.size - width + 1])
        uniform = np.random.RandomState([self.seed, self.epoch]).random_sample((count, len(limits)))
        draws = (uniform * limits).astype(np.int32)
        self._fragments = draws[:, :-2].reshape(count, rules.distractors, 5)
        self.positions = draws[:, -2:]

    def __len__(self) -> int:
        return len(self.digits)

    @property
    def boxes(self) -> Tensor:
        """(N, 4) int64: top, left, bottom, right of each whole digit in pixels; bottom and right are exclusive."""
        corner = torch.from_numpy(self.positions.astype(np.int64))
        return torch.cat([corner, corner + torch.tensor(self.digits.images.shape[1:])], dim=1)

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        return torch.from_numpy(self.digits.labels.astype(np.int64))

    @property
    def contents(self) -> tuple[np.ndarray, ...]:
        """The arrays that decide each image and label."""
        return self.digits.images, self.digits.labels, self._fragments, self.positions

    def describe(self) -> dict[str, object]:
        """What a run's record says of its data."""
        return {
            "name": "cluttered-mnist",
            "source": self.digits.source,
            "split": self.digits.split,
            "count": len(self),
            "size": self.rules.size,
            "distractors": self.rules.distractors,
            "crop": self.rules.crop,
            "seed": self.seed,
            "fresh": self.fresh,
        }

    def render(self, indices: Indices) -> np.ndarray:
        """(B, size, size) uint8 images."""
        picked = checked_indices(indices, len(self))
        rules, images = self.rules, self.digits.images
        # uint16 holds the sum of 257 white pixels, so one clamp after all additions equals a clamp after each.
        canvas = np.zeros((len(picked), rules.size, rules.size), dtype=np.uint16)
        rows = np.arange(len(picked))

        crops = sliding_window_view(images, (rules.crop, rules.crop), axis=(1, 2))
        places = sliding_window_view(canvas, (rules.crop, rules.crop), axis=(1, 2), writeable=True)
        for digit, from_y, from_x, to_y, to_x in self._fragments[picked].transpose(1, 2, 0):
            places[rows, to_y, to_x] += crops[digit, from_y, from_x]
        np.minimum(canvas, 255, out=canvas)

        places = sliding_window_view(canvas, images.shape[1:], axis=(1, 2), writeable=True)
        places[rows, *self.positions[picked].T] += images[picked]
        return np.minimum(canvas, 255).astype(np.uint8)

    def _batch(self, picked: np.ndarray) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(self.render(picked)).unsqueeze(1).float().div_(255)
        labels = torch.as_tensor(self.digits.labels, dtype=torch.int64)  # no copy of all labels for each batch
        return images, labels[picked]


def load_cluttered(
    split: Split,
    *,
    source: Source,
    root: str | Path | None = None,
    seed: int | None = None,
    fresh: bool | None = None,
) -> ClutteredMNIST:
    """The project's Cluttered MNIST: `load_digits` in clutter of the split's own seed, fresh each epoch for `train`
    unless `fresh` says otherwise.

    `source="embedded", split="all"` gives the very images of `source="mnist", split="validation"`, without a network.
    """
    digits = load_digits(split, source=source, root=root)
    seed, fresh = SEEDS[split] if seed is None else seed, split == "train" if fresh is None else fresh
    return ClutteredMNIST(digits, seed=seed, fresh=fresh)
