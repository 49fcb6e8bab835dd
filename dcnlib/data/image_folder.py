"""Images of a user's own pictures: each is read and checked once, divided, and disturbed anew in each epoch."""

import base64
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dcnlib.data.augmentation import Augmentation, drawing
from dcnlib.data.folder_images import SPLITS, Entry, find_entries, listed
from dcnlib.data.folder_reading import MIDDLE, decoded, file_digest, read_all, usual_shape
from dcnlib.data.folder_splits import check_classes, check_entries, divide
from dcnlib.data.preparation import size_text, window_of
from dcnlib.data.vectorised import VectorisedImages
from dcnlib.utils.checks import ImageShape, check_whole
from dcnlib.utils.files import user_path

MOST_CLASSES = 1000
LEAST_SIDE, MOST_SIDE = 32, 4096  # of images, in pixels
MOST_SKIPPED = 20  # that a message names; a record names all
BYTES = 6  # of a picture's digest in a record


class PictureFolder:
    """A folder of pictures, or a table of them, see `find_entries`: read as a whole, and checked.

    size: height and width of the images in pixels, by default after the pictures', at most 128. channels: 1 or 3, by
    default 1 if the pictures are grey. windows: whether an image is a window of that size of a picture, instead of the
    picture resized. class_names: those of a model; by default all that there are. split_seed: see `divide`. strict:
    whether what would be skipped is refused.

    Pictures that can't be read are skipped, see `skipped`. Raises FileNotFoundError, and ValueError, naming the files,
    for pictures of too many pixels, for the same picture under two labels or in two splits, for classes without a
    picture in a split, for a single class, and for labels that aren't among the class_names.
    """

    def __init__(
        self,
        place: str | Path,
        *,
        size: tuple[int, int] | None = None,
        channels: int | None = None,
        windows: bool = False,
        split_seed: int = 0,
        class_names: Sequence[str] | None = None,
        strict: bool = False,
    ) -> None:
        for side in size or ():
            check_whole("size", side, least=LEAST_SIDE, most=MOST_SIDE)
        if channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1 or 3, got {channels!r}")
        self.place, self.windows, self.split_seed = user_path(place).absolute(), windows, split_seed
        entries, skipped = find_entries(place)
        self.class_names = tuple(class_names or sorted({entry.label for entry in entries}))
        _check_labels(self.place, entries, self.class_names, of_model=class_names is not None)
        keys = [file_digest(entry) for entry in entries]
        if size is None or channels is None:
            usual = usual_shape([entries[n] for n in np.argsort(keys, kind="stable")])
            channels, size = channels or usual[0], size or (usual[1], usual[2])
        self.image_shape: ImageShape = (channels, *size)
        read = read_all(entries, keys, self.image_shape, windows)

        if large := [f"{entry.name} ({told})" for entry, told in zip(entries, read.too_large, strict=True) if told]:
            raise ValueError(f"pictures are too large: {listed(large)}; make them smaller, or leave them out")
        self.skipped = {**skipped, **{e.name: told for e, told in zip(entries, read.broken, strict=True) if told}}
        if strict and self.skipped:
            raise ValueError(f"{len(self.skipped)} files of {self.place} can't be used: {self.told_skipped()}")
        self._numbers = np.array([n for n, told in enumerate(read.broken) if not told], dtype=int)
        if len(self._numbers) == 0:
            raise ValueError(f"none of the {len(entries)} pictures of {self.place} can be read: {self.told_skipped()}")
        self._read, self.stored = read, read.stored  # else they are decoded when they are asked for
        self.contents = read.contents[self._numbers]  # (N, 16) uint8, a digest of each picture
        contents = [content.tobytes() for content in self.contents]
        kept = [entries[number] for number in self._numbers]
        self.divided_by = "seed" if all(entry.split is None for entry in kept) else "hand"
        self.entries = divide(kept, contents, split_seed)
        check_entries(self.entries, contents)
        if class_names is None:
            check_classes(self.entries, self.class_names)
        self.labels = np.array([self.class_names.index(entry.label) for entry in self.entries])
        if self.skipped:
            warnings.warn(
                f"{len(self.skipped)} of {len(self.skipped) + len(self.entries)} files of {self.place} are skipped: "
                f"{self.told_skipped()}",
                stacklevel=2,
            )

    def __str__(self) -> str:
        counts = Counter(entry.split for entry in self.entries)
        channels, height, width = self.image_shape
        images = f"{'windows' if self.windows else 'images'} in {'grey' if channels == 1 else 'colour'}"
        told = ", ".join(f"{counts[split]} for {split}" for split in SPLITS)
        return (
            f"{len(self.entries)} pictures of {len(self.class_names)} classes ({told}), as "
            f"{size_text((height, width))} {images}"
        )

    def images(self, split: str, *, augment: Sequence[str] = (), seed: int = 0) -> "FolderImages":
        """Those of train, validation or test, or all. In training, windows lie anywhere. augment: names of transforms,
        see `Augmentation`. The seed draws both, anew in each epoch."""
        if split not in (*SPLITS, "all"):
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, all, got {split!r}")
        chosen = [n for n, entry in enumerate(self.entries) if split in ("all", entry.split)]
        if not chosen:
            raise ValueError(f"{self.place} has no pictures for {split}")
        return FolderImages(self, split, np.array(chosen), augment=Augmentation(augment), seed=seed)

    def told_skipped(self) -> str:
        """The first files that are skipped, and why."""
        return listed((f"{name}: {why}" for name, why in self.skipped.items()), MOST_SKIPPED)

    def image(self, number: int, place: tuple[float, float] = MIDDLE) -> Tensor:
        """The image (C, H, W) of a picture; of windows, the one at a place of it."""
        if self.stored:
            pixels = self._read.pixels(self._numbers[number])
        else:
            entry = self.entries[number]
            try:
                pixels, _ = decoded(entry.path, entry.name, self.image_shape, self.windows)
            except (ValueError, OSError) as error:
                raise ValueError(f"a picture that could be read before can't be any more: {error}") from error
        if self.windows:
            pixels, _ = window_of(pixels, self.image_shape[1:], place)
        return pixels.float() / 255


class FolderImages(VectorisedImages):
    """Images (C, H, W) float32 in [0, 1] of one split of a `PictureFolder`, with the numbers of their classes.

    An image depends on the picture, the seed, the epoch and its index alone.
    """

    def __init__(
        self, folder: PictureFolder, split: str, chosen: np.ndarray, *, augment: Augmentation, seed: int, epoch: int = 0
    ) -> None:
        self.folder, self.split, self.chosen = folder, split, chosen
        self.augment, self.seed, self.epoch = augment, seed, epoch
        self._moving = folder.windows and split == "train"
        self.fresh = bool(augment) or self._moving
        self.labels = torch.from_numpy(folder.labels[chosen])

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def names(self) -> list[str]:
        """Of the files."""
        return [self.folder.entries[number].name for number in self.chosen]

    @property
    def contents(self) -> tuple[np.ndarray | Tensor, ...]:
        """What, with what `describe` tells, decides each image and label."""
        return self.folder.contents[self.chosen], self.labels

    def describe(self) -> dict[str, Any]:
        """What a run's record says of its data; `pictures` are the beginnings of the pictures' digests, 8 letters each,
        so that a picture that was trained on is known again wherever it lies."""
        folder = self.folder
        counts = Counter(self.labels.tolist())
        digests = np.ascontiguousarray(folder.contents[self.chosen][:, :BYTES]).tobytes()
        return {
            "name": "own-pictures",
            "source": "folder",
            "folder": str(folder.place),
            "split": self.split,
            "divided_by": folder.divided_by,
            "count": len(self),
            "by_class": {name: counts[number] for number, name in enumerate(folder.class_names)},
            "skipped": dict(folder.skipped),
            "augment": list(self.augment.texts),
            "seed": self.seed,
            "fresh": self.fresh,
            "pictures": base64.b64encode(digests).decode(),
        }

    def count_shared(self, described: Mapping[str, Any]) -> int:
        """How many of these pictures are among those of a `describe()`. Raises ValueError for what is none."""
        try:
            digests = base64.b64decode(described.get("pictures", ""), validate=True)
        except (ValueError, TypeError) as error:
            told = f"{described.get('pictures')!r:.60}"
            raise ValueError(f"these are no digests of the pictures that it was trained on: {told}") from error
        known = {digests[start : start + BYTES] for start in range(0, len(digests), BYTES)}
        return sum(content[:BYTES].tobytes() in known for content in self.folder.contents[self.chosen])

    def _batch(self, picked: np.ndarray) -> tuple[Tensor, Tensor]:
        images = torch.empty(len(picked), *self.folder.image_shape)
        for row, number in enumerate(picked.tolist()):
            images[row] = self._image(number)
        return images, self.labels[picked]

    def _image(self, index: int) -> Tensor:
        key = f"{self.seed} {self.epoch} {index}"
        place = MIDDLE
        if self._moving:
            with drawing(f"place {key}"):
                place = torch.rand(1).item(), torch.rand(1).item()
        image = self.folder.image(self.chosen[index], place)
        return self.augment(image, key) if self.augment else image


def _check_labels(place: Path, entries: Sequence[Entry], class_names: Sequence[str], *, of_model: bool) -> None:
    if not entries:
        raise ValueError(f"{place} holds no pictures")
    if len(class_names) > MOST_CLASSES:
        raise ValueError(f"{place} has {len(class_names):,} classes, more than {MOST_CLASSES:,}: is label a class?")
    if unseen := [repr(name) for name in class_names if not name.isprintable()]:
        raise ValueError(f"labels must be letters that can be seen; {place} has {listed(unseen)}")
    known = set(class_names)
    if of_model and (unknown := {entry.label: entry.name for entry in entries if entry.label not in known}):
        told = [f"{label!r} (of {name})" for label, name in sorted(unknown.items())]
        raise ValueError(f"the model knows no {listed(told)}; its classes are {listed(class_names, 20)}")
