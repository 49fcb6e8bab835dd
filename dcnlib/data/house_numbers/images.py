"""Images of house numbers for training and evaluation: disturbed by a seed, and joined by composed numbers."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dcnlib.data.house_numbers.composition import Composition, compose, fade, take_apart
from dcnlib.data.house_numbers.load import load_house_numbers
from dcnlib.data.house_numbers.numbers import FRAME, NO_DIGIT, POSITIONS, HouseNumbers, NumberSource, NumberSplit
from dcnlib.data.vectorised import VectorisedImages
from dcnlib.utils.checks import Indices, checked_indices


@dataclass(frozen=True)
class Disturbance:
    """How far images may be moved, rescaled and changed in contrast. Each image draws its own; the default is nothing.

    shift: the furthest way, as a share of the frame's height and width. scale: the largest factor; its inverse is the
    smallest. aspect: the same for the ratio of width to height. contrast: the same for the contrast, which all images
    otherwise have in common. A number is never moved out of the frame, nor enlarged beyond it. What comes into sight at
    the borders continues the image's outermost pixels.
    """

    shift: float = 0.0
    scale: float = 1.0
    aspect: float = 1.0
    contrast: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.shift <= 1 and all(1 <= factor <= 10 for factor in (self.scale, self.aspect, self.contrast))):
            raise ValueError(f"shift must be 0..1, and scale, aspect and contrast factors of 1..10, got {self}")


NO_DISTURBANCE = Disturbance()
TRAINING_DISTURBANCE = Disturbance(shift=0.15, scale=1.3, aspect=1.2, contrast=1.25)
COMPOSED = 0.5  # the share of composed numbers in training
# Under this, weights should err no more often than on undisturbed images.
TEST_DISTURBANCE = Disturbance(shift=0.1, scale=1.2)
BRIGHTNESS, CONTRAST = 0.5, 0.2  # mean and standard deviation of every image, in 0..1
FAINT = 5.0  # grey levels of 256 by which the contrast of a flat image is kept from being noise


def standardise(images: Tensor, gains: Tensor | float = 1.0) -> Tensor:
    """Grey levels (B, 1, H, W) of 0..255 -> images of one brightness and one contrast, in [0, 1].

    Photographs differ in both for reasons that have nothing to do with the number. gains: a factor on the contrast, one
    for all images or (B, 1, 1, 1). Without it, values further than 2.5 standard deviations from the mean are cut off.
    """
    centred = images - images.mean((2, 3), keepdim=True)
    spread = centred.square().mean((2, 3), keepdim=True).sqrt() + FAINT
    return (BRIGHTNESS + CONTRAST * gains * centred / spread).clamp_(0, 1)


class HouseNumberImages(VectorisedImages):
    """Images of house numbers under a disturbance: first each photograph, then numbers composed of their digits.

    `data[i]` gives (image (1, 64, 128) float32 in [0, 1], labels (5,) int64 with 10 for no digit); `data[indices]` a
    batch of them. Image i depends on the numbers, the rules, the seed, the epoch and i alone. It is the same, up to the
    rounding of float32, on every machine, and where nothing disturbs it, exactly the photograph, standardised.

    composed: the share of composed numbers among all; see `composition.py`. With `fresh`, `at_epoch(e)` draws new
    disturbances and new numbers for each epoch.
    """

    def __init__(
        self,
        numbers: HouseNumbers,
        *,
        disturbance: Disturbance = NO_DISTURBANCE,
        composed: float = 0.0,
        seed: int = 0,
        fresh: bool = False,
        epoch: int = 0,
    ) -> None:
        if not 0 <= composed < 1:
            raise ValueError(f"composed must be a share from 0 to below 1, got {composed}")
        if seed < 0 or epoch < 0:
            raise ValueError(f"seed and epoch must not be negative, got {seed} and {epoch}")
        self.numbers, self.disturbance, self.composed = numbers, disturbance, composed
        self.seed, self.fresh, self.epoch = seed, fresh, epoch
        self._extra = round(len(numbers) * composed / (1 - composed))
        self._parts = take_apart(numbers) if self._extra else None
        self._draw()

    def _draw(self) -> None:
        """Draw the epoch's numbers and disturbances; row i of each table is that of image i."""
        random = np.random.RandomState([self.seed, self.epoch])
        labels, boxes = self.numbers.labels, self.numbers.boxes
        self._composition: Composition | None = None
        if self._parts is not None:
            self._composition = compose(self.numbers, self._parts, self._extra, random)
            labels = np.concatenate([labels, self._composition.labels])
            boxes = np.concatenate([boxes, self._composition.boxes])
        self._labels = torch.from_numpy(labels)
        draws = 2 * random.random_sample((len(labels), 5)) - 1
        scale, offset = _placements(self.disturbance, boxes, self.present.numpy(), draws[:, :4])
        self._scale, self._offset = torch.from_numpy(scale).float(), torch.from_numpy(offset).float()
        self._gain = torch.from_numpy(self.disturbance.contrast ** draws[:, 4]).float()
        placed = torch.from_numpy(boxes) * self._scale.repeat(1, 2)[:, None] + self._offset.repeat(1, 2)[:, None]
        self._boxes = torch.where(self.present[..., None], placed, 0)

    def __len__(self) -> int:
        return len(self.numbers) + self._extra

    @property
    def labels(self) -> Tensor:
        """(N, 5) int64: each number's digits, then 10."""
        return self._labels

    @property
    def present(self) -> Tensor:
        """(N, 5) bool: which positions hold a digit."""
        return self._labels < NO_DIGIT

    @property
    def boxes(self) -> Tensor:
        """(N, 5, 4) float32: top, left, bottom, right of each digit in pixels, as disturbed; zeros for no digit."""
        return self._boxes

    @property
    def contents(self) -> tuple[np.ndarray | Tensor, ...]:
        """The arrays that, with what `describe` tells, decide each image and label."""
        return self.numbers.images, self.numbers.labels, self.numbers.boxes, self._scale, self._offset, self._gain

    def describe(self) -> dict[str, object]:
        """What a run's record says of its data."""
        return {
            "name": "house-numbers",
            "source": self.numbers.source,
            "split": self.numbers.split,
            "count": len(self),
            "photographs": len(self.numbers),
            "dropped": self.numbers.dropped.total,
            "height": FRAME[0],
            "width": FRAME[1],
            **asdict(self.disturbance),
            "composed": self.composed,
            "seed": self.seed,
            "fresh": self.fresh,
        }

    def render(self, indices: Indices) -> Tensor:
        """(B, 1, 64, 128) float32 images in [0, 1]."""
        picked = checked_indices(indices, len(self))
        own = picked < len(self.numbers)
        sources = np.empty((len(picked), *FRAME), dtype=np.uint8)
        sources[own] = self.numbers.images[picked[own]]
        if self._parts is not None and self._composition is not None:
            sources[~own] = self._parts.backgrounds[self._composition.backgrounds[picked[~own] - len(self.numbers)]]
        images = torch.from_numpy(sources).unsqueeze(1).float()
        if self.disturbance != NO_DISTURBANCE:
            images = _resample(images, self._scale[picked], self._offset[picked])
        if not own.all():
            self._add_digits(images, picked)
        return standardise(images, self._gain[picked, None, None, None])

    def _add_digits(self, images: Tensor, picked: np.ndarray) -> None:
        """Add the digits of the composed numbers, position by position, each resampled once from its photograph."""
        parts, composition = self._parts, self._composition
        assert parts is not None
        assert composition is not None
        for position in range(POSITIONS):
            rows = np.flatnonzero((picked >= len(self.numbers)) & self.present[picked, position].numpy())
            if len(rows) == 0:
                break
            chosen = picked[rows] - len(self.numbers)
            digits = composition.digits[chosen, position]
            source, target = torch.from_numpy(parts.boxes[digits]), self._boxes[picked[rows], position]
            scale = (target[:, 2:] - target[:, :2]) / (source[:, 2:] - source[:, :2])
            photographs = torch.from_numpy(self.numbers.images[parts.photographs[digits]]).unsqueeze(1).float()
            levels, gains = (
                torch.from_numpy(parts.levels[digits]),
                torch.from_numpy(composition.gains[chosen, position]),
            )
            moved = _resample(photographs, scale, target[:, :2] - scale * source[:, :2])
            down, across = fade(target, 0) * gains[:, None], fade(target, 1)
            images[rows] += (moved - levels[:, None, None, None]) * down[:, None, :, None] * across[:, None, None, :]

    def _batch(self, picked: np.ndarray) -> tuple[Tensor, Tensor]:
        return self.render(picked), self._labels[picked]


def project_images(
    numbers: HouseNumbers,
    *,
    seed: int = 0,
    disturbance: Disturbance | None = None,
    composed: float | None = None,
) -> HouseNumberImages:
    """The project's images of house numbers: those of `train` are disturbed and half composed, fresh each epoch.

    Those of other splits stay plain unless `disturbance`, drawn by `seed`, or `composed` say otherwise.
    """
    train = numbers.split == "train"
    if disturbance is None:
        disturbance = TRAINING_DISTURBANCE if train else NO_DISTURBANCE
    if composed is None:
        composed = COMPOSED if train else 0.0
    return HouseNumberImages(numbers, disturbance=disturbance, composed=composed, seed=seed, fresh=train)


def load_house_number_images(
    split: NumberSplit, *, source: NumberSource, root: str | Path | None = None, **options: Any
) -> HouseNumberImages:
    """`project_images`, which the options go to, of one split of a source: `load_house_numbers`.

    Test images shifted and rescaled by a seed:
    `load_house_number_images("test", source="svhn", disturbance=TEST_DISTURBANCE, seed=7)`.
    """
    return project_images(load_house_numbers(split, source=source, root=root), **options)


def _placements(
    rules: Disturbance, boxes: np.ndarray, present: np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset (N, 2), down and across, so that a pixel at p goes to scale * p + offset.

    draws: (N, 4) numbers in -1..1 for scale, aspect, and the shifts down and across.
    """
    size = np.array(FRAME)
    low = np.where(present[..., None], boxes[..., :2], np.inf).min(axis=1)  # (N, 2) the whole number's box
    high = np.where(present[..., None], boxes[..., 2:], -np.inf).max(axis=1)
    common, half = rules.scale ** draws[:, :1], rules.aspect ** (draws[:, 1:2] / 2)
    scale = np.minimum(np.concatenate([common / half, common * half], axis=1), size / (high - low))

    nearest, furthest = -scale * low, size - scale * high  # the offsets between which the number is in the frame
    centered = (1 - scale) * size / 2
    first = np.clip(centered - rules.shift * size, nearest, furthest)
    last = np.clip(centered + rules.shift * size, nearest, furthest)
    return scale, first + (draws[:, 2:] + 1) / 2 * (last - first)


def _resample(images: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Images (B, 1, H, W) with each pixel p (B, 2: down, across) moved to scale * p + offset, bilinearly."""
    axes = []
    for axis, size in enumerate(images.shape[2:]):
        centers = torch.arange(size) + 0.5
        axes.append(2 * (centers - offset[:, axis, None]) / scale[:, axis, None] / size - 1)  # -1..1 is the source
    down, across = axes
    shape = (len(images), *images.shape[2:])
    grid = torch.stack([across[:, None, :].expand(shape), down[:, :, None].expand(shape)], dim=-1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
