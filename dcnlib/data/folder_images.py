"""A user's own pictures: which files there are, what each shows, and which are for training, validation and test.

Either the folders say it or a table in CSV. This file knows names, labels and splits; what is in the pictures is read
in `image_folder.py`.
"""

import csv
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dcnlib.utils.files import read_file, user_path

SPLITS = ("train", "validation", "test")
ALSO = {"val": "validation", "valid": "validation", "training": "train", "testing": "test"}  # names that splits have
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".npy")
COLUMNS = ("file", "label")  # that a table must have; it may have these too:
MORE_COLUMNS = ("split", "group")
DELIMITERS = (",", ";", "\t")
MOST_NAMED = 5  # files in a message
MOST_HEADER = 10_000  # bytes of the first line of a table
MOST_TABLE, MOST_ROWS = 50_000_000, 200_000  # bytes and rows of all of it


@dataclass(frozen=True)
class Entry:
    """A file that should be a picture, and what is said of it. name: its path in the folder, with "/"."""

    name: str
    path: Path
    label: str
    split: str | None = None
    group: str | None = None


def find_entries(place: str | Path) -> tuple[list[Entry], dict[str, str]]:
    """The pictures of a folder or of a table, in the order of their names, and the files that can be none, by
    name, with the reason.

    A folder holds a subfolder for each class, or such folders in `train`, `validation` and `test`, or a table in CSV;
    pictures may lie deeper in their class's folder. A table has the columns file (a path in the table's folder) and
    label, and perhaps split and group. Names that begin with a dot are passed over.

    Raises FileNotFoundError, or ValueError for what says no classes, or not clearly.
    """
    place = user_path(place)
    if place.is_file():
        if _delimiter(place) is None:
            raise ValueError(f"{place} is no table: it must begin with a line that names the columns file and label")
        return _from_table(place), {}
    if not place.is_dir():
        raise FileNotFoundError(f"no folder of pictures and no table at {place}")
    tables = [table for table in sorted(place.glob("*.csv")) if table.is_file() and _delimiter(table) is not None]
    if len(tables) > 1:
        raise ValueError(f"{place} holds several tables, {', '.join(map(_name, tables))}: name the one that is meant")
    return (_from_table(tables[0]), {}) if tables else _from_folders(place)


def listed(names: Iterable[str], most: int = MOST_NAMED) -> str:
    """The first of some names, and how many more there are."""
    kept = list(names)
    more = f", and {len(kept) - most} more" if len(kept) > most else ""
    return "; ".join(kept[:most]) + more


def _from_folders(place: Path) -> tuple[list[Entry], dict[str, str]]:
    """The pictures of class folders, or of class folders in the folders of splits."""
    tops = _subfolders(place)
    splits = {top: ALSO.get(top.name.lower(), top.name.lower()) for top in tops}
    named = [top for top in tops if splits[top] in SPLITS]
    classes: list[tuple[Path | None, Path]]
    if len(named) == len(tops) and "train" in splits.values():
        classes = [(top, folder) for top in tops for folder in _subfolders(top)]
    elif len(named) > 1:
        others = ", ".join(_name(top) for top in tops if top not in named)
        what = f"and {others} beside them" if others else "but no train"
        raise ValueError(
            f"{place} holds {', '.join(map(_name, named))} {what}: are these splits or classes? Use a table with the "
            "columns file, label and split"
        )
    else:
        classes = [(None, folder) for folder in tops]
    if not classes:
        raise ValueError(
            f"{place} says no classes: it must hold a folder of pictures for each, or these in train, validation and "
            "test, or a table in CSV with the columns file and label"
        )
    entries, beside = [], {}
    for top, folder in classes:
        label, split = _name(folder), None if top is None else splits[top]
        for path in _files(folder):
            name = path.relative_to(place).as_posix()
            if path.suffix.lower() in PICTURES:
                entries.append(Entry(name, path, label, split))
            else:
                beside[name] = "its name ends as no picture's does"
    if empty := {_name(folder) for _, folder in classes} - {entry.label for entry in entries}:
        raise ValueError(f"these folders of {place} would be classes, but hold no picture: {listed(sorted(empty))}")
    for above in {place, *(top for top, _ in classes if top is not None)}:
        for path in above.iterdir():
            if path.suffix.lower() in PICTURES and not path.is_dir() and not path.name.startswith("."):
                beside[path.relative_to(place).as_posix()] = "it lies in no class's folder"
    return sorted(entries, key=lambda entry: entry.name), dict(sorted(beside.items()))


def _subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, without links to what it lies in itself."""
    real = Path(os.path.realpath(folder))
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".") and not real.is_relative_to(os.path.realpath(path))
    ]


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder. Links are followed, but none leads in circles: no folder is entered twice, nor one that
    this folder lies in."""
    top = Path(os.path.realpath(folder))
    entered: set[str] = set()
    for inside, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(inside)
        if real in entered or (entered and top.is_relative_to(real)):
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(inside) / name for name in sorted(files) if not name.startswith("."))


def _name(path: Path) -> str:
    """A file's or folder's name in the one form that its letters have."""
    return unicodedata.normalize("NFC", path.name)


def _from_table(table: Path) -> list[Entry]:
    """The pictures that a table names."""
    folder = os.path.normpath(table.parent)
    try:
        text = read_file(table, MOST_TABLE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} must be text in UTF-8: {error}") from error
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(table) or ",", strict=True)
    try:
        header = [column.strip().lower() for column in next(rows)]
        read = [(rows.line_num, row) for row in rows if any(row)]
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num} of {table} can't be read: {error}") from error
    if len(read) > MOST_ROWS:
        raise ValueError(f"{table} has {len(read):,} rows, but at most {MOST_ROWS:,} can be read")
    if twice := [column for column, count in Counter(header).items() if column and count > 1]:
        raise ValueError(f"{table} has more than one column {' and '.join(twice)}")
    entries: dict[str, Entry] = {}
    for line, row in read:
        if any(cell.strip() for cell in row[len(header) :]):
            told = f"line {line} of {table} has {len(row)} cells, but {len(header)} columns have a name"
            raise ValueError(f"{told}: put what holds a {rows.dialect.delimiter} in quotes")
        cells = dict(zip(header, map(str.strip, row), strict=False))
        if lacking := [column for column in COLUMNS if not cells.get(column)]:
            raise ValueError(f"line {line} of {table} says no {' and no '.join(lacking)}")
        name, label = cells["file"], unicodedata.normalize("NFC", cells["label"])
        split, group = (cells.get(column) or None for column in MORE_COLUMNS)
        split = split and ALSO.get(split.lower(), split.lower())
        if split not in (None, *SPLITS):
            raise ValueError(f"line {line} of {table}: split must be one of {', '.join(SPLITS)}, got {split!r}")
        if name in entries:
            raise ValueError(f"line {line} of {table} names {name:.200} again")
        if not Path(os.path.normpath(table.parent / name)).is_relative_to(folder):
            raise ValueError(f"line {line} of {table} names {name:.200}, which lies outside the table's folder")
        entries[name] = Entry(name, table.parent / name, label, split, group)
    if 0 < sum(entry.split is None for entry in entries.values()) < len(entries):
        without = next(entry.name for entry in entries.values() if entry.split is None)
        raise ValueError(f"{table} says a split of some pictures, but none of {without}")
    return sorted(entries.values(), key=lambda entry: entry.name)


def _delimiter(table: Path) -> str | None:
    """What stands between the columns of a table; None for a file that isn't one of pictures and labels."""
    with table.open("rb") as file:
        header = file.readline(MOST_HEADER).decode("utf-8-sig", "replace").lower()
    for delimiter in DELIMITERS:
        if set(COLUMNS) <= {column.strip().strip('"') for column in header.split(delimiter)}:
            return delimiter
    return None
