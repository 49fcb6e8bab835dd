"""SVHN in format 1: photographs `1.png`, `2.png`, ... with `digitStruct.mat`, in a folder or an official archive.

`digitStruct.mat` is a MATLAB 7.3 file, that is HDF5. Its `digitStruct/name` and `digitStruct/bbox` hold one reference a
photograph: to the file's name as character codes, and to a group of five lists (label, left, top, width, height). A
list of one is the number itself, a longer one holds a reference to each number. The reader relies on nothing else:
not on number types, on the objects' order or names, or on the orientation of lists.

What can't be read as a whole is an error. A single bad entry is left out and counted (see `Dropped`).
"""

import gzip
import hashlib
import math
import os
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o, h5r, h5s
from PIL import Image

from dcnlib.data.house_numbers.numbers import FRAME, NO_DIGIT, POSITIONS, Dropped, HouseNumbers, in_frame
from dcnlib.data.pictures import MOST_BYTES, check_pixels
from dcnlib.utils.cache import Arrays, cached
from dcnlib.utils.files import cache_folder, data_roots, read_file

LABELS_FILE = "digitStruct.mat"
WEB_PAGE = "http://ufldl.stanford.edu/housenumbers/"
_FIELDS = (b"label", b"top", b"left", b"height", b"width")
# Whoever claims more, or less, has a broken file.
_LONGEST = 1000  # characters or digits in an entry
_MOST_EACH = 100  # bytes of one of them
_LEAST_BYTES = 100  # that a photograph takes among the labels
_LEAST_UNPACKED = 2000  # that it takes in an archive, with its member's header
_MOST_BYTES = 10_000_000  # of references that are packed together
_CACHE_VERSION = b"1"


class BadEntry(Exception):
    """One photograph can't be used; the message is a field of `Dropped`."""


def find_svhn(part: str, root: str | Path | None = None) -> Path:
    """The folder of one part (train, test or extra), unpacked into the cache if it lies in an archive.

    Raises as `locate_svhn` and `unpack` do.
    """
    place = locate_svhn(part, root)
    return place if place.is_dir() else unpack(place, part)


def locate_svhn(part: str, root: str | Path | None = None) -> Path:
    """The folder or the archive of one part (train, test or extra), in the first of `data_roots(root)` that has it.

    Each may hold the part itself or in `SVHN/`. Nothing is unpacked or read. Raises FileNotFoundError if none has it.
    """
    bases = data_roots(root)
    for base in bases:
        for place in (base / "SVHN", base):
            if (place / part / LABELS_FILE).is_file():
                return place / part
            if (place / f"{part}.tar.gz").is_file():
                return place / f"{part}.tar.gz"
    looked = " or ".join(map(str, bases)) or "any place: DCNLIB_DATA isn't set, and this user has no home for a cache"
    raise FileNotFoundError(
        f"no SVHN/{part}/{LABELS_FILE} and no SVHN/{part}.tar.gz in {looked}; put {part}.tar.gz from {WEB_PAGE} "
        f"(format 1) into {bases[0] / 'SVHN' if bases else 'a folder SVHN in $DCNLIB_DATA'}, or use the rendered "
        "numbers (source rendered)"
    )


def unpack(archive: Path, part: str) -> Path:
    """The part's folder, unpacked from an official archive into the user's cache unless it is there already.

    Only plain files and folders below the archive's own folder are taken. Raises ValueError for any other member, for
    a damaged archive and for one that unpacks to far more than photographs do; then nothing stays behind. Raises
    FileNotFoundError for a user without a cache.
    """
    cache = cache_folder()
    if cache is None:
        raise FileNotFoundError(f"this user has no home, so no cache to unpack {archive} into: unpack it where it is")
    with archive.open("rb") as file:  # gzip ends in a checksum and the size of what it holds: a key of the content
        file.seek(-min(8, archive.stat().st_size), os.SEEK_END)
        key = f"{archive.stat().st_size:x}-{file.read().hex()}"
    folder = cache / "unpacked" / f"{part}-whole-{key}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        try:
            with _Limited(archive) as content:
                with tarfile.open(fileobj=content, mode="r|") as members:
                    members.extractall(
                        scratch, _counted(members, content.most // _LEAST_UNPACKED), filter=_plain_member
                    )
                while content.read(1 << 20):  # the checksum stands at the end, behind what tarfile reads
                    pass
        except Exception as error:  # TarError, EOFError, OSError, zlib.error, and what tarfile lets through
            raise ValueError(f"can't unpack {archive}: {error}") from error
        if not (Path(scratch) / part / LABELS_FILE).is_file():
            raise ValueError(f"{archive} holds no {part}/{LABELS_FILE}: it is not an archive of SVHN's format 1")
        with suppress(OSError):  # another process may have been faster
            os.replace(Path(scratch) / part, folder)
    return folder


class _Limited(gzip.GzipFile):
    """What a packed file holds, as far as that isn't far more than packed photographs do."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.most = 10 * path.stat().st_size + 1_000_000  # photographs hardly shrink, and their labels to a tenth

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if self.tell() > self.most:
            raise ValueError(f"it holds more than {self.most / 1e6:.1f} MB, unlike any archive of photographs")
        return content


def _counted(members: tarfile.TarFile, most: int) -> Iterator[tarfile.TarInfo]:
    """The members of an archive, unless there are more than its photographs can be."""
    for count, member in enumerate(members):
        if count > most:
            raise ValueError(f"it has more than {most:,} members")
        yield member


def _plain_member(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    # A sparse file's size has nothing to do with what the archive holds of it.
    if not (member.isfile() or member.isdir()) or member.issparse() or member.name.startswith("/"):
        raise tarfile.FilterError(f"member {member.name!r} is not a plain file in the archive's own folder")
    return tarfile.data_filter(member, folder)


def read_svhn(folder: Path) -> HouseNumbers:
    """All house numbers of a folder, from the user's cache if exactly these files were read before."""
    parts = ("images", "labels", "boxes", "names")

    def read(arrays: Arrays) -> HouseNumbers:
        dropped = Dropped(*(int(count) for count in arrays["dropped"]))
        return HouseNumbers(**{name: arrays[name] for name in parts}, source="svhn", split=folder.name, dropped=dropped)

    def make() -> Arrays:
        numbers = decode_svhn(folder)
        dropped = np.array(list(asdict(numbers.dropped).values()))
        return {**{name: getattr(numbers, name) for name in parts}, "dropped": dropped}

    return cached(f"house-numbers-{_digest(folder)}", read=read, make=make)


def decode_svhn(folder: Path) -> HouseNumbers:
    """All house numbers of a folder, read from its files. Raises ValueError if none can be used."""
    images, labels, boxes, names = [], [], [], []
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    for entry in _entries(folder / LABELS_FILE):
        try:
            if isinstance(entry, BadEntry):
                raise entry
            name, fields = entry
            digits, places = _checked(fields)
            if name in seen:
                raise BadEntry("no_image")
            seen.add(name)
            image, size = _load_image(folder, name)
            scale = np.tile(np.array(FRAME) / size, 2)
            places = np.clip(places * scale, 0, np.tile(FRAME, 2))
            if not (places[:, 2:] > places[:, :2]).all():
                raise BadEntry("bad_box")
        except BadEntry as error:
            dropped[str(error)] += 1
            continue
        images.append(image)
        labels.append(np.pad(digits, (0, POSITIONS - len(digits)), constant_values=NO_DIGIT))
        boxes.append(np.pad(places, ((0, POSITIONS - len(digits)), (0, 0))))
        names.append(name)
    if not images:
        raise ValueError(f"no usable house number in {folder}; left out: {Dropped(**dropped)}")
    return HouseNumbers(
        np.stack(images),
        np.stack(labels).astype(np.int64),
        np.stack(boxes).astype(np.float32),
        np.array(names),
        source="svhn",
        split=folder.name,
        dropped=Dropped(**dropped),
    )


def _checked(fields: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The digits in the file's order, and their boxes (top, left, bottom, right) in pixels of the photograph."""
    if len({len(values) for values in fields}) != 1:
        raise BadEntry("unreadable")
    labels, top, left, height, width = fields
    if len(labels) == 0:
        raise BadEntry("no_digits")
    if len(labels) > POSITIONS:
        raise BadEntry("too_long")
    if not np.isin(labels, np.arange(1, 11)).all():
        raise BadEntry("bad_label")
    places = np.stack([top, left, top + height, left + width], axis=1)
    if not (np.isfinite(places).all() and (height > 0).all() and (width > 0).all()):
        raise BadEntry("bad_box")
    return labels.astype(int) % 10, places


def _load_image(folder: Path, name: str) -> tuple[np.ndarray, tuple[int, int]]:
    """The photograph in grey at the size of all images, and its own height and width."""
    path = folder / name
    try:
        found = path.parent == folder and path.is_file()  # a name with a path in it could point anywhere
    except OSError:  # the system takes no such name
        found = False
    if not found:
        raise BadEntry("no_image")
    try:
        with warnings.catch_warnings(), Image.open(path, formats=["PNG"]) as photograph:
            warnings.simplefilter("ignore")  # Pillow's, of large photographs, which are refused here
            check_pixels(name, photograph.height, photograph.width)
            grey = photograph.convert("L")
    except Exception as error:  # a damaged file makes a decoder raise whatever it likes
        raise BadEntry("bad_image") from error
    return in_frame(grey), (grey.height, grey.width)


def _entries(path: Path) -> Iterator[tuple[str, list[np.ndarray]] | BadEntry]:
    """Each photograph's file name and five lists, in the file's order.

    Goes through h5py's low-level interface: a photograph has some 17 objects, which it opens in half the time.
    """
    try:
        with h5py.File(path, "r") as file:
            store = _child(file["/"].id, b"digitStruct")
            names, boxes = (_child(store, field) for field in (b"name", b"bbox"))
            if isinstance(boxes, h5g.GroupID):  # MATLAB stores a struct of one as it is, without references
                nodes: Iterable[tuple[object, object]] = [(names, boxes)]
            else:
                most = path.stat().st_size // _LEAST_BYTES
                nodes = zip(_references(names, most), _references(boxes, most), strict=True)
            for name, box in nodes:
                try:
                    lists = _follow(file, box)
                    if not isinstance(lists, h5g.GroupID):
                        raise ValueError("bbox must refer to groups")
                    yield _text(_read(_follow(file, name))), [_numbers(file, lists, field) for field in _FIELDS]
                except (ValueError, TypeError, KeyError, OSError, RuntimeError, OverflowError):
                    yield BadEntry("unreadable")
    except (OSError, KeyError, RuntimeError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged or no digitStruct file of SVHN's format 1: {error}") from error


def _child(group: object, name: bytes) -> object:
    """What a group holds under a name. Raises ValueError for a link, which may lead into other files or nowhere."""
    if not isinstance(group, h5g.GroupID) or group.links.get_info(name).type != h5l.TYPE_HARD:
        raise ValueError(f"{name!r} must lie in the file and in a group")
    return h5o.open(group, name)


def _references(node: object, most: int) -> Sequence[object]:
    """The references in a data set, one for each photograph, unless there are more than a file can have."""
    if not isinstance(node, h5d.DatasetID) or not _refers(node):
        raise ValueError("name and bbox must hold one reference for each photograph")
    if math.prod(node.shape) > most:
        raise ValueError(f"it claims {math.prod(node.shape):,} photographs, more than a file of its size can hold")
    _check_storage(node, _MOST_BYTES)
    return h5py.Dataset(node)[()].ravel()


def _check_storage(node: h5d.DatasetID, most: int) -> None:
    """Raise ValueError unless a data set's values lie in this file, in pieces of at most so many bytes."""
    if node.dtype.hasobject and not _refers(node):
        raise ValueError("values must be of one size: HDF5 takes the memory of what a damaged one claims")
    made = node.get_create_plist()
    layout = made.get_layout()
    if made.get_external_count() or layout not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED):
        raise ValueError("values must lie in the file itself")
    piece = made.get_chunk() if layout == h5d.CHUNKED else node.shape
    if math.prod(piece) * node.dtype.itemsize > most:
        raise ValueError(f"values must lie in pieces of at most {most:,} bytes")


def _refers(values: h5d.DatasetID | np.ndarray) -> bool:
    return h5py.check_ref_dtype(values.dtype) is h5py.Reference


def _follow(file: h5py.File, node: object) -> object:
    return h5r.dereference(node, file.id) if isinstance(node, h5py.Reference) else node


def _read(node: object) -> np.ndarray:
    """A data set's values, flat."""
    if not isinstance(node, h5d.DatasetID) or math.prod(node.shape) > _LONGEST:
        raise ValueError("not a short list")
    _check_storage(node, _LONGEST * _MOST_EACH)
    values = np.empty(node.shape, node.dtype)
    if values.size:
        node.read(h5s.ALL, h5s.ALL, values)
    return values.ravel()


def _numbers(file: h5py.File, lists: h5g.GroupID, field: bytes) -> np.ndarray:
    """A field's values as floats, each stored as it is or behind a reference."""
    values = _read(_child(lists, field))
    if _refers(values):
        values = np.concatenate([np.empty(0), *(_read(_follow(file, reference)) for reference in values)])
    if not np.issubdtype(values.dtype, np.number):
        raise ValueError(f"{field!r} must hold numbers")
    return values.astype(float)


def _text(values: np.ndarray) -> str:
    """A string that is stored as character codes, as MATLAB does, or as a string of HDF5 of a fixed length."""
    if np.issubdtype(values.dtype, np.integer):
        return "".join(chr(code) for code in values)
    (text,) = values
    return text.decode() if isinstance(text, bytes) else str(text)


def _digest(folder: Path) -> str:
    """A key of all that is read from a folder."""
    digest = hashlib.sha256(_CACHE_VERSION)
    for path in sorted(folder.iterdir()):
        if path.name == LABELS_FILE or path.suffix == ".png":
            content = read_file(path, MOST_BYTES)
            digest.update(f"{path.name}/{len(content)}/".encode())
            digest.update(content)
    return digest.hexdigest()[:32]
