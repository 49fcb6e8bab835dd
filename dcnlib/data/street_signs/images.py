"""Images of street signs for training and evaluation: windows of the halved photographs, or all of each."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dcnlib.data.street_signs.drawn import draw_streets
from dcnlib.data.street_signs.gtsdb import find_gtsdb, numbers_of, read_gtsdb
from dcnlib.data.street_signs.signs import CATEGORIES, HALVED, SIGN_SPLITS, SignSource, SignSplit, StreetSigns
from dcnlib.data.vectorised import VectorisedImages
from dcnlib.utils.checks import Indices, check_whole, checked_indices

WINDOW = 128
WINDOWS_EACH = 4  # of a photograph: with a sign and without one in turn
COUNTS_FROM = 0.5  # the share of a sign's area that a window must hold for the sign to count in it
TRIES = 40  # places that are tried for a window without a sign
MOST_PIXELS_AT_ONCE = 3_000_000  # of images that are evaluated together


@dataclass(frozen=True)
class Variation:
    """How far training images may differ from the photographs. Each draws its own; the default is not at all.

    scale: the largest factor by which a sign grows; its inverse is the smallest. light and colour: the largest factors
    on the brightness of all and of single channels, and the inverses. flipped: whether left and right may change sides.
    """

    scale: float = 1.0
    light: float = 1.0
    colour: float = 1.0
    flipped: bool = False

    def __post_init__(self) -> None:
        if not all(1 <= factor <= 4 for factor in (self.scale, self.light, self.colour)):
            raise ValueError(f"scale, light and colour must be factors of 1..4, got {self}")


NO_VARIATION = Variation()
TRAINING_VARIATION = Variation(scale=1.3, light=1.5, colour=1.15, flipped=True)


class SignImages(VectorisedImages):
    """Windows of photographs, and for each category of signs whether the window shows one.

    `data[i]` gives (image (3, H, W) float32 in [0, 1], labels (4,) int64: 1 for a category that is there, else 0);
    `data[indices]` a batch of them.

    window: the side of square windows in pixels of the halved photograph, of which each photograph has `WINDOWS_EACH`:
    in turn one around one of its signs, all of that sign in it if it is large enough, and one without any, as far as
    the photograph has such places. 0 for the whole photographs, 400x680 pixels. Image i is decided by the photographs,
    the rules, the seed, the epoch and i. With `fresh`, `at_epoch(e)` draws new windows for each epoch.
    """

    def __init__(
        self,
        signs: StreetSigns,
        *,
        window: int = WINDOW,
        variation: Variation = NO_VARIATION,
        seed: int = 0,
        fresh: bool = False,
        epoch: int = 0,
    ) -> None:
        check_whole("window", window, least=0, most=min(HALVED))
        check_whole("seed", seed, least=0)
        check_whole("epoch", epoch, least=0)
        self.signs, self.window, self.variation = signs, window, variation
        self.seed, self.fresh, self.epoch = seed, fresh, epoch
        self.shape = (window, window) if window else HALVED  # of an image, height and width
        self._draw()

    def _draw(self) -> None:
        """Draw the epoch's windows; row i of each table is that of image i."""
        random = np.random.RandomState([self.seed, self.epoch])
        rules, count = self.variation, len(self)
        scale = rules.scale ** random.uniform(-1, 1, count)
        self._flips = rules.flipped & (random.random_sample(count) < 0.5)
        light = rules.light ** random.uniform(-1, 1, (count, 1))
        self._gains = torch.from_numpy(light * rules.colour ** random.uniform(-1, 1, (count, 3))).float()
        places = random.random_sample((count, 1 + TRIES, 2))
        self._regions = np.stack([self._region(index, scale[index], places[index]) for index in range(count)])
        self._labels = torch.zeros(count, len(CATEGORIES), dtype=torch.int64)
        for index in range(count):
            self._labels[index, self.signs.categories[self._counted(index)]] = 1

    def _region(self, index: int, scale: float, places: np.ndarray) -> np.ndarray:
        """Top, left, height and width of a window in pixels of its photograph."""
        room = np.array(HALVED)
        scale = max(scale, *(side / most for side, most in zip(self.shape, HALVED, strict=True)))
        size = np.minimum(np.round(np.array(self.shape) / scale), room).astype(int)
        boxes = self.signs.boxes[self.signs.signs_of(self.photograph_of(index))]
        if not self.window or len(boxes) == 0:
            corner = np.floor(places[0] * (room - size + 1))
        elif index % 2 == 0:
            box = boxes[int(places[1, 0] * len(boxes))]
            # From where the sign touches the window's one border to where it touches the other.
            low, high = np.sort([box[2:] - size, box[:2]], axis=0)
            low, high = np.ceil(low.clip(0, room - size)), np.floor(high.clip(0, room - size))
            corner = low + np.floor(places[0] * (np.maximum(high - low, 0) + 1))
        else:
            corners = np.floor(places * (room - size + 1))
            beside = (corners[:, None] + size <= boxes[:, :2]) | (corners[:, None] >= boxes[:, 2:])
            corner = corners[beside.any(2).all(1).argmax()]  # the first if there is none
        return np.concatenate([corner.astype(int), size])

    def photograph_of(self, index: int) -> int:
        """The number of an image's photograph."""
        return index // WINDOWS_EACH if self.window else index

    def _counted(self, index: int) -> np.ndarray:
        """The rows of the signs that count in an image."""
        rows = self.signs.signs_of(self.photograph_of(index))
        boxes, (top, left, height, width) = self.signs.boxes[rows], self._regions[index]
        inside = boxes.clip([top, left, top, left], [top + height, left + width, top + height, left + width])
        seen, whole = ((part[:, 2:] - part[:, :2]).prod(1) for part in (inside, boxes))
        return np.arange(rows.start, rows.stop)[seen >= COUNTS_FROM * whole]

    def boxes_of(self, index: int) -> tuple[Tensor, Tensor]:
        """The signs that count in an image: boxes (n, 4) of top, left, bottom, right in its pixels, as far as they lie
        in it, and categories (n,)."""
        rows = self._counted(index)
        top, left, height, width = self._regions[index]
        scale = np.array(self.shape) / (height, width)
        boxes = (self.signs.boxes[rows] - [top, left, top, left]) * np.tile(scale, 2)
        if self._flips[index]:
            boxes[:, [1, 3]] = self.shape[1] - boxes[:, [3, 1]]
        boxes = boxes.clip(0, np.tile(self.shape, 2))
        return torch.from_numpy(boxes).float(), torch.from_numpy(self.signs.categories[rows])

    def __len__(self) -> int:
        return len(self.signs) * (WINDOWS_EACH if self.window else 1)

    @property
    def labels(self) -> Tensor:
        """(N, 4) int64: for each category whether the image shows one."""
        return self._labels

    @property
    def most_at_once(self) -> int:
        """How many images to evaluate together, so that their maps don't fill the memory."""
        height, width = self.shape
        return max(1, min(250, MOST_PIXELS_AT_ONCE // (height * width)))

    @property
    def contents(self) -> tuple[np.ndarray | Tensor, ...]:
        """The arrays that, with what `describe` tells, decide each image and label."""
        return self.signs.photographs, self._regions, self._flips, self._gains, self._labels

    def describe(self) -> dict[str, object]:
        """What a run's record says of its data."""
        return {
            "name": "street-signs",
            "source": self.signs.source,
            "split": self.signs.split,
            "count": len(self),
            "photographs": len(self.signs),
            "window": self.window,
            **asdict(self.variation),
            "seed": self.seed,
            "fresh": self.fresh,
        }

    def render(self, indices: Indices) -> Tensor:
        """(B, 3, H, W) float32 images in [0, 1]."""
        picked = checked_indices(indices, len(self))
        images = torch.empty(len(picked), 3, *self.shape)
        for row, index in enumerate(picked):
            top, left, height, width = self._regions[index]
            region = self.signs.photographs[self.photograph_of(index), top : top + height, left : left + width]
            image = torch.from_numpy(region).permute(2, 0, 1)[None].float()
            if (height, width) != self.shape:
                image = F.interpolate(image, self.shape, mode="bilinear", antialias=True)
            images[row] = image[0].flip(2) if self._flips[index] else image[0]
        images *= self._gains[picked, :, None, None]
        return images.div_(255).clamp_(0, 1)

    def _batch(self, picked: np.ndarray) -> tuple[Tensor, Tensor]:
        return self.render(picked), self._labels[picked]


def load_street_signs(
    split: SignSplit, *, source: SignSource, root: str | Path | None = None, count: int | None = None
) -> StreetSigns:
    """Load one split of a source, or its first `count` photographs.

    `gtsdb`: looked for in `data_roots(root)`: `GTSDB/gt.txt` beside the photographs, PPM or JPEG. Validation are blocks
    of the official training set; test leaves out the seven photographs that repeat others. Nothing is downloaded.
    `drawn`: streets and signs drawn by `drawn.py`; always at hand, and simpler than photographs.

    Raises ValueError for an unknown source or split and for damaged files, FileNotFoundError if there are none.
    """
    if source not in SIGN_SPLITS:
        raise ValueError(f"source must be one of {sorted(SIGN_SPLITS)}, got {source!r}")
    if split not in SIGN_SPLITS[source]:
        raise ValueError(f"source {source!r} has the splits {', '.join(SIGN_SPLITS[source])}, got {split!r}")
    if count is not None:
        check_whole("count", count)
    if source == "drawn":
        return draw_streets(split, count)
    return read_gtsdb(find_gtsdb(root), numbers_of(split)[:count], split=split)


def project_sign_images(
    signs: StreetSigns, *, window: int = WINDOW, variation: Variation | None = None, seed: int = 0
) -> SignImages:
    """The project's images of street signs: those of `train` are varied, fresh each epoch; others stay as they are
    unless `variation` says otherwise. Their windows are drawn by the seed."""
    train = signs.split == "train"
    if variation is None:
        variation = TRAINING_VARIATION if train else NO_VARIATION
    return SignImages(signs, window=window, variation=variation, seed=seed, fresh=train)
