"""Where house numbers come from: photographs of SVHN in format 1, or numbers that the library renders itself.

The paper's second experiment (section 4.2) reads whole numbers from grey images that are not cropped to the number.
Every image here is a whole photograph, resized to 64x128 pixels without regard to its aspect: nothing of it is lost,
every cell of a network's map shows some of it, and most photographs are about twice as wide as high anyway. How the
paper came to 64x128 could not be checked.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

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
# What images may be, in words that finish "The images are ...".
ORIGINS = {
    "rendered": "numbers that the library rendered itself, not photographs",
    "re-assembled": "real digits of SVHN in their true places, but not the original photographs: what lies around the "
    "digits is filled in",
    "photographs": "photographs of house numbers in SVHN's format 1",
}
REASSEMBLED = {"train": 3634, "validation": 399, "test": 1000}  # how many the data set of this project's records has


@dataclass(frozen=True)
class Dropped:
    """How many photographs were left out, by reason; each counts once, under the first reason that holds.

    unreadable: the entry can't be read, or its lists of labels and boxes differ in length. no_digits: the lists are
    empty. too_long: more than five digits. bad_label: a label outside 1..10. bad_box: a box without height or width,
    not finite, or wholly outside its photograph. no_image: the PNG is missing. bad_image: the PNG can't be decoded.
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


def load_house_numbers(split: NumberSplit, *, source: NumberSource, root: str | Path | None = None) -> HouseNumbers:
    """Load one split of a source.

    `svhn`: test and extra as they are; train and validation are the training photographs, divided by a hash of the
    photograph's name, so that a photograph stays on its side whatever else is there. The data is looked for in `root`
    if it is given, else in $DCNLIB_DATA, then in the user's cache: `SVHN/train`, a folder with the PNGs and
    `digitStruct.mat`, or the official archive `SVHN/train.tar.gz`. Reading it takes a minute the first time, the
    result lies in the user's cache from then on. Nothing is downloaded.
    `rendered`: numbers drawn by `rendered_numbers.py`; always at hand, and easier than photographs.

    Raises ValueError for an unknown source or split or for damaged files, FileNotFoundError if there are none. Single
    bad entries are left out and counted in `dropped`, which is that of the whole folder for train and validation.
    """
    if source not in NUMBER_SPLITS:
        raise ValueError(f"source must be one of {sorted(NUMBER_SPLITS)}, got {source!r}")
    if split not in NUMBER_SPLITS[source]:
        raise ValueError(f"source {source!r} has the splits {', '.join(NUMBER_SPLITS[source])}, got {split!r}")

    if source == "rendered":
        from dcnlib.rendered_numbers import render_numbers

        return render_numbers(split)

    from dcnlib.svhn import find_svhn, read_svhn  # h5py is needed for nothing else

    part = "train" if split == "validation" else split
    numbers = replace(read_svhn(find_svhn(part, root)), split=split)
    if part == "train":
        keep = held_out(numbers.names) == (split == "validation")
        if not keep.any():
            raise ValueError(f"none of the {len(numbers)} training photographs falls into the split {split!r}")
        numbers = numbers.where(keep)
    return numbers


def in_frame(grey: Image.Image) -> np.ndarray:
    """A whole grey picture, of mode L, at the size of all images: (64, 128) uint8."""
    height, width = FRAME
    return np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR))  # Pillow averages where it shrinks


def number_text(labels: Iterable[int]) -> str:
    """A number (5,) as it is written: its digits, "_" for a gap between them, which only an answer may have.

    "no number" if there is no digit at all.
    """
    return "".join("_" if label == NO_DIGIT else str(label) for label in labels).rstrip("_") or "no number"


def origin_of(data: Mapping[str, Any]) -> str:
    """Which of `ORIGINS` the images of a split have, by the split's description (`HouseNumberImages.describe`).

    The data set that this project's models were trained on was re-assembled from SVHN's cropped digits; it is told from
    the official photographs, which are many more, by its size.
    """
    if data["source"] == "rendered":
        return "rendered"
    return "re-assembled" if data["photographs"] == REASSEMBLED.get(data["split"]) else "photographs"


def held_out(names: np.ndarray) -> np.ndarray:
    """(N,) bool: which training photographs make up the validation set."""
    hashes = [int.from_bytes(hashlib.sha256(str(name).encode()).digest()[:4]) for name in names]
    return np.array(hashes) < VALIDATION_SHARE * 2**32
