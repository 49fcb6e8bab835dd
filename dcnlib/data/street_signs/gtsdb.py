"""Reading the German Traffic Sign Detection Benchmark as its official archive is.

`FullIJCNN2013.zip` holds 900 photographs, 00000.ppm to 00899.ppm, and gt.txt with a line for each sign:
`00000.ppm;774;411;815;446;11` is the photograph, the outermost columns and rows that belong to the sign (left, top,
right, bottom), and its class, 0 to 42. Photographs may also be JPEGs of the same names. A photograph without a line has
no sign; some of those show signs of other kinds, or tiny ones, that the benchmark doesn't count.

Photographs 0 to 599 are the official training set, 600 to 899 the test set.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from dcnlib.data.pictures import decode_picture
from dcnlib.data.street_signs.signs import CATEGORIES, PHOTOGRAPH, SignSplit, StreetSigns, halved
from dcnlib.utils.files import data_roots, read_file

LABELS_FILE = "gt.txt"
FOLDERS = ("GTSDB", "FullIJCNN2013", "GTSDB/FullIJCNN2013", ".")
WEB_PAGE = "https://benchmark.ini.rub.de/gtsdb_dataset.html"
MOST_LABELS = 1_000_000  # bytes; the official file has 38,000
PHOTOGRAPHS = 900
TEST_BEGINS = 600
# Of every so many training photographs in a row, the last are for validation. Neighbours often show one street.
BLOCK, VALIDATION_BEGINS = 120, 96
# Test photographs that repeat a place: what is in training or elsewhere in the test set is no test, or counts twice.
EXCLUDED = {
    615: "the two signs of training photograph 443, seconds apart",
    749: "place and signs of training photograph 371, on another day",
    879: "the scene of 616",
    881: "identical to 613",
    885: "the scene of 612",
    897: "the scene of 606",
    899: "the scene of 607",
}
_CLASSES: dict[str, Sequence[int]] = {
    "prohibitory": (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16),
    "danger": (11, *range(18, 32)),
    "mandatory": range(33, 41),
    "other": (6, 12, 13, 14, 17, 32, 41, 42),
}
# The category of each of the 43 classes, by the official ReadMe.txt.
CATEGORY_OF = {number: CATEGORIES.index(category) for category, numbers in _CLASSES.items() for number in numbers}

Sign = tuple[tuple[float, float, float, float], int]  # box (top, left, bottom, right) at half size, and category


def find_gtsdb(root: str | Path | None = None) -> Path:
    """The folder with gt.txt, in the first of `data_roots(root)` that has it. Raises FileNotFoundError."""
    bases = data_roots(root)
    for base in bases:
        for folder in FOLDERS:
            if (base / folder / LABELS_FILE).is_file():
                return base / folder
    looked = " or ".join(map(str, bases)) or "any place: DCNLIB_DATA isn't set, and this user has no home for a cache"
    raise FileNotFoundError(
        f"no GTSDB/{LABELS_FILE} in {looked}; unpack FullIJCNN2013.zip from {WEB_PAGE} into "
        f"{bases[0] / 'GTSDB' if bases else 'a folder GTSDB in $DCNLIB_DATA'}, or use the drawn signs (source drawn)"
    )


def numbers_of(split: SignSplit) -> tuple[int, ...]:
    """The numbers of a split's photographs: validation are blocks of the official training set in a row."""
    if split == "test":
        return tuple(number for number in range(TEST_BEGINS, PHOTOGRAPHS) if number not in EXCLUDED)
    validation = split == "validation"
    return tuple(number for number in range(TEST_BEGINS) if (number % BLOCK >= VALIDATION_BEGINS) == validation)


@lru_cache(maxsize=3)
def read_gtsdb(folder: Path, numbers: Sequence[int], *, split: str) -> StreetSigns:
    """Photographs by their numbers, with their signs. Decoding hundreds takes a while: a process does it once a split.

    Raises ValueError, naming file and line, for a broken gt.txt and, naming the file, for a photograph that can't be
    read or has another size; FileNotFoundError for one that is missing.
    """
    signs = read_labels(folder / LABELS_FILE)
    photographs = [read_photograph(folder, number) for number in numbers]
    found = [(owner, *sign) for owner, number in enumerate(numbers) for sign in signs.get(number, [])]
    owners, boxes, categories = zip(*found, strict=True) if found else ((), (), ())
    return StreetSigns(
        np.stack(photographs),
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(categories, dtype=np.int64),
        np.array(owners, dtype=np.int64),
        np.array([f"{number:05}" for number in numbers]),
        source="gtsdb",
        split=split,
    )


def read_labels(path: Path) -> dict[int, list[Sign]]:
    """The signs of each photograph that has some, from gt.txt. Raises ValueError, naming file and line."""
    try:
        lines = read_file(path, MOST_LABELS).decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no gt.txt: it holds other characters than ASCII's") from error
    signs: dict[int, list[Sign]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                photograph, sign = _parsed(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}; got {line[:80]!r}") from error
            signs.setdefault(photograph, []).append(sign)
    if not signs:
        raise ValueError(f"{path} names no sign at all")
    return signs


def _parsed(line: str) -> tuple[int, Sign]:
    name, *fields = line.strip().split(";")
    if len(fields) != 5 or not all(field.isdecimal() and len(field) < 10 for field in fields):
        raise ValueError("a line must be PHOTOGRAPH.ppm;left;top;right;bottom;class, all whole numbers")
    stem, _, kind = name.partition(".")
    if not (len(stem) == 5 and stem.isdecimal() and int(stem) < PHOTOGRAPHS and kind == "ppm"):
        raise ValueError(f"photographs are 00000.ppm to {PHOTOGRAPHS - 1:05}.ppm")
    left, top, right, bottom, category = map(int, fields)
    height, width = PHOTOGRAPH
    if not (left < right < width and top < bottom < height):
        raise ValueError(f"a box must have left < right < {width} and top < bottom < {height}")
    if category not in CATEGORY_OF:
        raise ValueError(f"a class must be 0..{len(CATEGORY_OF) - 1}")
    return int(stem), ((top / 2, left / 2, (bottom + 1) / 2, (right + 1) / 2), CATEGORY_OF[category])


def read_photograph(folder: Path, number: int) -> np.ndarray:
    """One photograph at half its size, (400, 680, 3) uint8. Raises FileNotFoundError, or ValueError that names it."""
    names = [f"{number:05}.{kind}" for kind in ("ppm", "jpg")]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} has no photograph {' or '.join(names)}")
    height, width = PHOTOGRAPH
    return halved(decode_picture(found[0], (width, height)))
