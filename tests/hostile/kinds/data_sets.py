"""Digits, house numbers and the labels of street signs."""

import gzip
import hashlib
import io
import shutil
import tarfile
import tempfile
from pathlib import Path
from random import Random
from unittest import mock

import platformdirs
from hostile import mutations
from hostile.kinds.kind import Kind, digest
from PIL import Image
from sign_files import LINES
from svhn_files import ENCODINGS, sample_entries, write_folder

from dcnlib.data import digits
from dcnlib.data.digits import load_digits
from dcnlib.data.house_numbers.load import load_house_numbers
from dcnlib.data.house_numbers.numbers import HouseNumbers
from dcnlib.data.house_numbers.svhn import decode_svhn, read_svhn
from dcnlib.data.street_signs.gtsdb import read_labels


def good_digits() -> list[bytes]:
    images = Random(0).randbytes(5 * 28 * 28)
    return [b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (5, 28, 28)) + images]


LABELS = b"\0\0\x08\x01" + (5).to_bytes(4, "big") + bytes(range(5))
SMALL_MNIST = {
    "t10k-images-idx3-ubyte": ((5, 28, 28), hashlib.sha256(good_digits()[0]).hexdigest()),
    "t10k-labels-idx1-ubyte": ((5,), hashlib.sha256(LABELS).hexdigest()),
}


def mnist_beside(folder: Path) -> None:
    for name in digits._MNIST:
        (folder / "MNIST" / "raw" / name).write_bytes(LABELS if "t10k-labels" in name else b"")
    (folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte").unlink()


def read_digits(path: Path) -> str:
    with mock.patch.dict(digits._MNIST, SMALL_MNIST):  # what the reader takes for the original
        read = load_digits("test", source="mnist", root=path.parents[2], download=False)
    return digest(read.images, read.labels)


def svhn_folder(folder: Path) -> Path:
    if not folder.exists():
        write_folder(folder, sample_entries(4))
    return folder


def photographs(folder: Path) -> None:
    """The photographs of `sample_entries` without their labels."""
    for entry in sample_entries(6):
        Image.new("RGB", (96, 40), (20, 90, 200)).save(folder / "test" / entry.name)


def good_labels() -> list[bytes]:
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for name, encoding in ENCODINGS.items():
            for count in (6, 1):
                part = write_folder(Path(folder) / f"{name} {count}", sample_entries(count), encoding)
                made.append((part / "digitStruct.mat").read_bytes())
    return made


def numbers_digest(numbers: HouseNumbers) -> str:
    return digest(numbers.images, numbers.labels, numbers.boxes, numbers.names)


def good_archives() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        part = write_folder(Path(folder) / "test", sample_entries(3))
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(part, "test")
        return [gzip.compress(packed.getvalue(), 1)]


def read_archive(path: Path) -> str:
    return numbers_digest(load_house_numbers("test", source="svhn", root=path.parent))


def good_caches() -> list[bytes]:
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(platformdirs, "user_cache_dir", return_value=folder),
    ):
        read_svhn(svhn_folder(Path(folder) / "test"))
        return [path.read_bytes() for path in Path(folder).glob("*.npz")]


def read_cache(path: Path) -> str:
    """Whatever damage there is in the cache, what is read is what the folder holds."""
    folder = svhn_folder(path.parent / "test")
    read_svhn(folder)
    (kept,) = (path.parent / "cache").glob("*.npz")
    shutil.copy(path, kept)
    return numbers_digest(read_svhn(folder))


KINDS = (
    Kind("idx", "MNIST/raw/t10k-images-idx3-ubyte", good_digits, read_digits, whole=True, beside=mnist_beside),
    Kind(
        "idx.gz",
        "MNIST/raw/t10k-images-idx3-ubyte.gz",
        lambda: [gzip.compress(content) for content in good_digits()],
        read_digits,
        (mutations.inside_gzip(mutations.any_bytes),),
        whole=True,
        beside=mnist_beside,
    ),
    Kind(
        "mat",
        "test/digitStruct.mat",
        good_labels,
        lambda path: numbers_digest(decode_svhn(path.parent)),
        beside=photographs,
    ),
    Kind(
        "tar.gz",
        "test.tar.gz",
        good_archives,
        read_archive,
        (mutations.inside_gzip(mutations.any_bytes), mutations.inside_gzip(mutations.tar_header)),
        whole=True,
    ),
    Kind("cache", "cache.npz", good_caches, read_cache, (mutations.zip_member,), whole=True),
    Kind("gt.txt", "gt.txt", lambda: ["\n".join(LINES).encode()], lambda path: str(read_labels(path))),
)
