"""More training numbers: digits of photographs, put together to new numbers in other photographs.

A background is a photograph without its number: the digits' boxes, widened, are filled smoothly from what surrounds
them. A digit is what its box differs from the grey level right around it. Added to a background, it leaves no seam,
because its own surroundings are near zero by then and fade out beyond its box.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dcnlib.data.house_numbers.numbers import FRAME, NO_DIGIT, POSITIONS, HouseNumbers

ERASED_MARGIN = 0.25  # of a digit's height and width: so far around its box it is erased from its photograph
FADING_MARGIN = 0.15  # and so far around its box it fades out where it is added
CANDIDATES = 16  # digits among which the most fitting is taken
LEAST_CONTRAST = 20  # grey levels; fainter numbers are made this strong
LARGEST_GAIN = 3
_CHUNK = 512  # photographs that are erased at once, which bounds the memory


@dataclass(frozen=True)
class Parts:
    """House numbers taken apart.

    backgrounds: (N, 64, 128) uint8, the photographs without their numbers. Of all D digits, number after number: labels
    (D,), photographs (D,) in which they stand, boxes (D, 4), levels (D,) the grey level around each, and contrasts
    (D,), by how many levels its strokes are lighter than that; negative for dark ones. firsts (N,): each photograph's
    first digit.
    """

    backgrounds: np.ndarray
    labels: np.ndarray
    photographs: np.ndarray
    boxes: np.ndarray
    levels: np.ndarray
    contrasts: np.ndarray
    firsts: np.ndarray


@dataclass(frozen=True)
class Composition:
    """What M new numbers are made of.

    backgrounds: (M,) photographs. digits: (M, 5) digits of the parts, by index. boxes: (M, 5, 4) where they go.
    gains: (M, 5) float32, factors of their differences from their level. labels: (M, 5). Positions without a digit have
    zeros, and label 10.
    """

    backgrounds: np.ndarray
    digits: np.ndarray
    boxes: np.ndarray
    gains: np.ndarray
    labels: np.ndarray


def take_apart(numbers: HouseNumbers) -> Parts:
    """Separate the digits of all numbers from their backgrounds."""
    photographs, positions = np.nonzero(numbers.present)
    boxes = numbers.boxes[photographs, positions]
    tones = [_tones(numbers.images[row], box) for row, box in zip(photographs, boxes, strict=True)]
    levels, contrasts = np.array(tones, dtype=np.float32).T
    return Parts(
        erase_numbers(numbers),
        numbers.labels[photographs, positions],
        photographs,
        boxes,
        levels,
        contrasts,
        np.flatnonzero(positions == 0),
    )


def erase_numbers(numbers: HouseNumbers) -> np.ndarray:
    """(N, 64, 128) uint8: the photographs, their digits' boxes and a margin filled from what surrounds them."""
    filled = np.empty_like(numbers.images)
    for start in range(0, len(numbers), _CHUNK):
        rows = slice(start, start + _CHUNK)
        images = torch.from_numpy(numbers.images[rows]).float().unsqueeze(1)
        known = torch.from_numpy(~_covered(numbers.boxes[rows], numbers.present[rows])).float().unsqueeze(1)
        # A photograph that its number fills has nothing known; its mean is then as good as any other grey.
        hidden = known.amax((2, 3), keepdim=True) == 0
        images = torch.where(hidden, images.mean((2, 3), keepdim=True), images)
        filled[rows] = _fill(images, torch.where(hidden, 1, known)).round().squeeze(1).byte().numpy()
    return filled


def compose(numbers: HouseNumbers, parts: Parts, count: int, random: np.random.RandomState) -> Composition:
    """Draw `count` new numbers, each on a random background in the layout of a random photograph.

    Each box of a layout takes, out of 16 random digits, the one that needs the least change: of its height, its width,
    its contrast and its sign. All digits of a number get the contrast that the background's own number had, of the
    other sign where the background at the new place is too dark or too light for it.
    """
    places = random.random_sample((count, 2))
    backgrounds, layouts = (places * len(numbers)).astype(int).T
    boxes, present = numbers.boxes[layouts], numbers.present[layouts]
    drawn = (random.random_sample((count, POSITIONS, CANDIDATES)) * len(parts.labels)).astype(int)

    center = ((boxes[:, 0, :2] + boxes[:, 0, 2:]) / 2).astype(int)
    level = parts.backgrounds[backgrounds, center[:, 0], center[:, 1]].astype(np.float32)
    contrast = parts.contrasts[parts.firsts[backgrounds]]
    contrast = np.where(contrast < 0, -1, 1) * np.maximum(np.abs(contrast), LEAST_CONTRAST)
    ink = level + contrast
    contrast = np.where((ink < 0) | (ink > 255), -contrast, contrast)

    wanted = np.where(present[..., None], boxes[..., 2:] - boxes[..., :2], 1)[:, :, None]  # (M, 5, 1, 2) height, width
    offered = parts.boxes[drawn, 2:] - parts.boxes[drawn, :2]  # (M, 5, 16, 2)
    gains = contrast[:, None, None] / parts.contrasts[drawn]
    change = np.abs(np.log(offered / wanted)).sum(-1) + np.abs(np.log(np.abs(gains))) + (gains < 0)
    best = change.argmin(-1)[..., None]
    digits, gains = (np.take_along_axis(values, best, axis=-1)[..., 0] for values in (drawn, gains))
    return Composition(
        backgrounds,
        np.where(present, digits, 0),
        boxes,
        np.where(present, np.clip(gains, -LARGEST_GAIN, LARGEST_GAIN), 0).astype(np.float32),
        np.where(present, parts.labels[digits], NO_DIGIT),
    )


def fade(boxes: Tensor, axis: int) -> Tensor:
    """(B, size) weights along an axis (0 down, 1 across): 1 inside the boxes (B, 4), falling to 0 over their margin."""
    low, high = boxes[:, axis, None], boxes[:, axis + 2, None]
    centers = torch.arange(FRAME[axis]) + 0.5
    outside = torch.maximum(low - centers, centers - high)
    return (1 - outside / (FADING_MARGIN * (high - low))).clamp(0, 1)


def _covered(boxes: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(N, 64, 128) bool: the pixels in the boxes widened by their margin and a pixel."""
    masks = []
    for axis in (0, 1):
        low, high = boxes[..., axis, None], boxes[..., axis + 2, None]
        margin = ERASED_MARGIN * (high - low) + 1
        centers = np.arange(FRAME[axis]) + 0.5
        masks.append((low - margin <= centers) & (centers <= high + margin) & present[..., None])
    return (masks[0][..., :, None] & masks[1][..., None, :]).any(axis=1)


def _fill(images: Tensor, known: Tensor) -> Tensor:
    """(B, 1, H, W) images whose unknown pixels are smooth: from the means of known ones at ever coarser scales."""
    if min(images.shape[2:]) > 1:
        weight = F.avg_pool2d(known, 2)
        means = F.avg_pool2d(images * known, 2) / weight.clamp(min=1e-6)
        coarse = _fill(means, (weight > 0).float())
    else:
        coarse = (images * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1e-6)
    filled = torch.where(known > 0, images, F.interpolate(coarse, size=images.shape[2:], mode="bilinear"))
    for _ in range(4):  # takes the blocks of the coarser scales away
        smooth = F.avg_pool2d(F.pad(filled, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        filled = torch.where(known > 0, images, smooth)
    return filled


def _tones(image: np.ndarray, box: np.ndarray) -> tuple[float, float]:
    """The grey level around a digit, and the difference of its strokes from that; never quite zero."""
    margin = FADING_MARGIN * (box[2:] - box[:2])
    top, left = np.floor(box[:2] - margin).clip(0).astype(int)
    bottom, right = np.ceil(box[2:] + margin).astype(int)  # may lie outside: the slices end at the border
    window = image[top:bottom, left:right]
    rows, columns = np.arange(top, top + window.shape[0]), np.arange(left, left + window.shape[1])
    inside = np.outer((rows >= box[0]) & (rows < box[2]), (columns >= box[1]) & (columns < box[3]))
    around = window[~inside]
    level = float(np.median(around if around.size else window))
    low, high = np.percentile(window[inside] if inside.any() else window, [10, 90]) - level
    contrast = float(high if high >= -low else low)
    return level, contrast if abs(contrast) >= 1 else 1.0
