"""Reading a user's own pictures, all of them and once: what is in them, and which can't be used."""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dcnlib.data.folder_images import Entry
from dcnlib.data.pictures import Picture, TooManyPixels, file_content, read_picture
from dcnlib.data.preparation import Prepared, enlarged, resized, size_text, window_of
from dcnlib.utils.cache import Arrays, cached
from dcnlib.utils.checks import ImageShape
from dcnlib.utils.launched import startable

MOST_STORED = 2_000_000_000  # bytes of pictures that are kept decoded
MOST_CACHED = 2 * MOST_STORED  # of all folders together, and of what they held before
MIDDLE = 0.5, 0.5
SEEN = 50  # pictures of which the images' usual size and channels are read
SIDES = 32, 128  # of images whose size nobody says: the least of any side, and the most of the longer one
STEP = 8  # pixels of which those sides are multiples
READERS = 2  # processes, from this many pictures on:
WORTH_READERS = 200
_CACHE_VERSION = "2"


def prepare(picture: Picture, image_shape: ImageShape, *, windows: bool) -> Prepared:
    """A picture as an image of the shape: the whole of it resized, or the window in its middle."""
    if not windows:
        return resized(picture, image_shape)
    whole, size = enlarged(picture, image_shape), image_shape[1:]
    image, (top, left) = window_of(whole.image, size, MIDDLE)
    notes = (
        whole.notes if image.shape == whole.image.shape else (*whole.notes, f"only {size_text(size)} pixels of it seen")
    )
    return Prepared(image, replace(whole.fit, offset=(-top, -left)), notes)


def decoded(path: Path, name: str, image_shape: ImageShape, windows: bool) -> tuple[Tensor, Picture]:
    """A file's picture, and all of it that images are made of: (C, H, W) uint8. Raises what `read_picture` raises."""
    picture = read_picture(path, name=name)
    kept = enlarged(picture, image_shape) if windows else resized(picture, image_shape)
    return (kept.image * 255).round().to(torch.uint8), picture


class Read:
    """What was found in pictures: all of each that images are made of, as it lies in one array, their digests (N, 16)
    uint8, and why some can't be used."""

    def __init__(self, arrays: Arrays) -> None:
        self.contents: np.ndarray = arrays["contents"]
        self.broken: list[str] = arrays["broken"].tolist()
        self.too_large: list[str] = arrays["too_large"].tolist()
        self.stored = bool(arrays["stored"])
        self._pixels, self._shapes = arrays["pixels"], arrays["shapes"]
        self._ends = np.prod(self._shapes, axis=1).cumsum()

    def pixels(self, number: int) -> Tensor:
        """Those of a picture (C, H, W) uint8, if they are stored."""
        shape = self._shapes[number]
        end = self._ends[number]
        return torch.from_numpy(self._pixels[end - np.prod(shape) : end].reshape(shape))


def read_all(entries: Sequence[Entry], keys: Sequence[bytes], image_shape: ImageShape, windows: bool) -> Read:
    """All pictures, from the user's cache if exactly these files were read before."""
    key = hashlib.sha256(f"{_CACHE_VERSION} {image_shape} {windows}".encode() + b"".join(keys)).hexdigest()

    def make() -> Arrays:
        count, total = len(entries), 0
        pixels: list[np.ndarray] = []
        shapes, contents = np.zeros((count, 3), np.int64), np.zeros((count, 16), np.uint8)
        broken, too_large = [""] * count, [""] * count
        for number, (kept, content, why, large) in enumerate(_decoded(entries, image_shape, windows)):
            if why:
                (too_large if large else broken)[number] = why
                continue
            contents[number], shapes[number], total = np.frombuffer(content, np.uint8), kept.shape, total + kept.size
            if total <= MOST_STORED:
                pixels.append(kept.ravel())
            else:
                pixels.clear()
        return {
            "stored": np.array(total <= MOST_STORED),
            "pixels": np.concatenate([np.zeros(0, np.uint8), *pixels]),
            "shapes": shapes,
            "contents": contents,
            "broken": np.array(broken),
            "too_large": np.array(too_large),
        }

    return cached(f"own-pictures/{key[:32]}", read=Read, make=make, most_bytes=MOST_CACHED)


Decoded = tuple[np.ndarray, bytes, str, bool]


def _decoded(entries: Sequence[Entry], image_shape: ImageShape, windows: bool) -> Iterator[Decoded]:
    """Of each picture all that images are made of, its digest, why it can't be used, and whether that is its size."""
    workers = startable(min(READERS, os.cpu_count() or 1)) if len(entries) >= WORTH_READERS else 0
    reading = _Reading(entries, image_shape, windows)
    return iter(DataLoader(reading, batch_size=None, num_workers=workers, collate_fn=_as_it_is))


class _Reading(Dataset):
    """Pictures by number, for processes that read them."""

    def __init__(self, entries: Sequence[Entry], image_shape: ImageShape, windows: bool) -> None:
        self.entries, self.image_shape, self.windows = entries, image_shape, windows

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> Decoded:
        entry = self.entries[number]
        try:
            kept, picture = decoded(entry.path, entry.name, self.image_shape, self.windows)
        except (ValueError, OSError) as error:
            told = str(error).replace(str(entry.path), entry.name).removeprefix(entry.name).strip()
            return np.zeros(0, np.uint8), b"", told or type(error).__name__, isinstance(error, TooManyPixels)
        pixels = (picture.pixels * 65535).round().numpy().astype(np.uint16)
        content = hashlib.sha256(f"{picture.pixels.shape}".encode() + pixels.tobytes()).digest()[:16]
        return kept.numpy(), content, "", False


def _as_it_is(item: Any) -> Any:
    return item


def file_digest(entry: Entry) -> bytes:
    """Of a file's bytes; nothing of one that can't be read, which is told when it is to be decoded."""
    try:
        return hashlib.sha256(file_content(entry.path)).digest()
    except (ValueError, OSError):
        return bytes(32)


def usual_shape(entries: Iterable[Entry]) -> ImageShape:
    """Channels, height and width that fit pictures: the median of their aspects and sizes, of the first so many."""
    sizes, colour, why = [], False, "there are none"
    for entry in itertools.islice(entries, SEEN):
        try:
            picture = read_picture(entry.path, name=entry.name)
        except (ValueError, OSError) as error:
            why = str(error)
            continue
        sizes.append(picture.size)
        colour |= len(picture.pixels) == 3 and bool((picture.pixels != picture.pixels[:1]).any())
    if not sizes:
        raise ValueError(f"no picture can be read: {why}")
    height, width = np.median(sizes, axis=0)
    aspect = float(np.exp(np.median([np.log(tall / wide) for tall, wide in sizes])))
    longer = min(max(height, width), SIDES[1])
    sides = (longer * min(1.0, aspect), longer * min(1.0, 1 / aspect))
    tall, wide = (max(SIDES[0], STEP * round(side / STEP)) for side in sides)
    return (3 if colour else 1), tall, wide
