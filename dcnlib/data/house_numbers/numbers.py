"""Where house numbers come from: photographs of SVHN in format 1, or numbers that the library renders itself.

The paper's second experiment (section 4.2) reads whole numbers from grey images that are not cropped to the number.
Every image here is a whole photograph, resized to 64x128 pixels without regard to its aspect: nothing of it is lost,
every cell of a network's map shows some of it, and most photographs are about twice as wide as high anyway. How the
paper came to 64x128 could not be checked.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image

NumberSource = Literal["svhn", "rendered"]
NumberSplit = Literal["train", "validation", "test", "extra"]
NUMBER_SPLITS: dict[str, tuple[str, ...]] = {
    "svhn": ("train", "validation", "test", "extra"),
    "rendered": ("train", "validation", "test"),
}
FRAME = (64, 128)  # height and width of every image in pixels
POSITIONS = 5  # digits that the longest number may have
NO_DIGIT = 10  # the label of a position behind a number's last digit
VALIDATION_SHARE = 0.1  # of the training photographs


@dataclass(frozen=True)
class Dropped:
    """How many photographs were left out, by reason; each counts once, under the first reason that holds.

    unreadable: the entry can't be read, or its lists of labels and boxes differ in length. no_digits: the lists are
    empty. too_long: more than five digits. bad_label: a label outside 1..10. bad_box: a box without height or width,
    not finite, or wholly outside its photograph. no_image: the PNG is missing, or is another entry's already.
    bad_image: the PNG can't be decoded, or is far too large.
    """

    unreadable: int = 0
    no_digits: int = 0
    too_long: int = 0
    bad_label: int = 0
    bad_box: int = 0
    no_image: int = 0
    bad_image: int = 0

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in asdict(self).items() if count) or "none"


@dataclass(frozen=True)
class HouseNumbers:
    """Photographs with one house number each, and where they came from.

    images: (N, 64, 128) uint8, whole photographs in grey. labels: (N, 5) int64, the number's digits in the order of
    reading, then 10 for each position without one. boxes: (N, 5, 4) float32, each digit's top, left, bottom, right in
    pixels of the image; zeros where there is no digit. names: (N,) the photographs' files. dropped: what the files held
    besides.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    names: np.ndarray
    source: str
    split: str
    dropped: Dropped = Dropped()

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.dtype != np.uint8 or self.images.shape[1:] != FRAME:
            raise TypeError(
                f"images must be uint8 of shape (N, {FRAME[0]}, {FRAME[1]}), got {self.images.dtype} "
                f"{self.images.shape}"
            )
        shapes = {"labels": (count, POSITIONS), "boxes": (count, POSITIONS, 4), "names": (count,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{count} images need {name} of shape {shape}, got {getattr(self, name).shape}")
        if not (np.issubdtype(self.labels.dtype, np.integer) and np.issubdtype(self.boxes.dtype, np.floating)):
            raise TypeError(f"labels must be integers and boxes floats, got {self.labels.dtype}, {self.boxes.dtype}")
        if count == 0:
            raise ValueError("a set of house numbers must not be empty")
        present = self.present
        if self.labels.min() < 0 or self.labels.max() > NO_DIGIT or not present[:, 0].all():
            raise ValueError(f"labels must be 0..{NO_DIGIT}, the first of a number 0..9")
        if (present[:, 1:] & ~present[:, :-1]).any():
            raise ValueError("a number's digits must stand in the first positions, without a gap")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def present(self) -> np.ndarray:
        """(N, 5) bool: which positions hold a digit."""
        return self.labels < NO_DIGIT

    @property
    def lengths(self) -> np.ndarray:
        """(N,) how many digits each number has."""
        return self.present.sum(axis=1)

    def where(self, keep: np.ndarray) -> "HouseNumbers":
        """The numbers that a mask (N,) or an index picks."""
        return replace(
            self, images=self.images[keep], labels=self.labels[keep], boxes=self.boxes[keep], names=self.names[keep]
        )

    def subset(self, count: int) -> "HouseNumbers":
        """The first `count` numbers."""
        if not 1 <= count <= len(self):
            raise ValueError(f"count must be 1..{len(self)}, got {count}")
        return self.where(np.arange(count))


def in_frame(grey: Image.Image) -> np.ndarray:
    """A whole grey picture, of mode L, at the size of all images: (64, 128) uint8."""
    height, width = FRAME
    return np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR))  # Pillow averages where it shrinks


def number_text(labels: Iterable[int]) -> str:
    """A number (5,) as it is written: its digits, "_" for a gap between them, which only an answer may have.

    "no number" if there is no digit at all.
    """
    return "".join("_" if label == NO_DIGIT else str(label) for label in labels).rstrip("_") or "no number"


def held_out(names: np.ndarray) -> np.ndarray:
    """(N,) bool: which training photographs make up the validation set."""
    hashes = [int.from_bytes(hashlib.sha256(str(name).encode()).digest()[:4]) for name in names]
    return np.array(hashes) < VALIDATION_SHARE * 2**32
