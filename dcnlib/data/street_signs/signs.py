"""Photographs of streets at half their size, and where the signs of four categories stand in them.

A sign of the German Traffic Sign Detection Benchmark (GTSDB: Houben, Stallkamp, Salmen, Schlipsing, Igel, IJCNN 2013)
takes 0.13 % of its photograph. At half size, 400x680 pixels, it still has 20, which is enough to tell its category.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

SignSource = Literal["gtsdb", "drawn"]
SignSplit = Literal["train", "validation", "test"]
SIGN_SPLITS: Mapping[str, tuple[str, ...]] = {
    "gtsdb": ("train", "validation", "test"),
    "drawn": ("train", "validation", "test"),
}
PHOTOGRAPH = (800, 1360)  # height and width of a photograph in pixels
HALVED = (400, 680)  # and of what the networks see of it
CATEGORIES = ("prohibitory", "danger", "mandatory", "other")


@dataclass(frozen=True, eq=False)
class StreetSigns:
    """Photographs with their signs.

    photographs (N, 400, 680, 3) uint8. One row for each sign: boxes (S, 4) float32 top, left, bottom, right in pixels
    of the halved photograph, the last two excluded; categories (S,) int64, of `CATEGORIES`; owners (S,) int64, in which
    photograph it stands, ascending. names (N,): of the photographs. Not to be changed: others may have the same arrays.
    """

    photographs: np.ndarray
    boxes: np.ndarray
    categories: np.ndarray
    owners: np.ndarray
    names: np.ndarray
    source: str
    split: str

    def __len__(self) -> int:
        return len(self.photographs)

    def signs_of(self, photograph: int) -> slice:
        """The rows of the signs of one photograph."""
        return slice(*np.searchsorted(self.owners, [photograph, photograph + 1]))


def halved(photograph: Image.Image) -> np.ndarray:
    """A photograph at half its size, each pixel the mean of four: (H / 2, W / 2, 3) uint8."""
    return np.array(photograph.convert("RGB").reduce(2))
