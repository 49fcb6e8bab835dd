"""Writes tiny data sets in SVHN's format 1, in the encodings of several programs and with every kind of damage."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import h5py
import numpy as np
from PIL import Image


@dataclass
class Entry:
    """One photograph: its name, labels as in the file (10 means 0) and boxes (left, top, width, height) in pixels."""

    name: str
    labels: list[float]
    boxes: list[tuple[float, float, float, float]]


@dataclass(frozen=True)
class Encoding:
    """How a program writes the file; the defaults are MATLAB's way.

    number: the type of labels and boxes. codes: that of a name's characters, or "string". shape: of a list of n.
    single_by_reference, lists_by_reference: whether a list of one, or a longer one, holds references to its values.
    store: the group that references lead to. fields, name_first: the order in which objects are made.
    """

    number: str = "f8"
    codes: str = "u2"  # or "string"
    shape: Callable[[int], tuple[int, ...]] = lambda n: (n, 1)
    single_by_reference: bool = False
    lists_by_reference: bool = True
    store: str = "#refs#"
    fields: tuple[str, ...] = ("height", "label", "left", "top", "width")
    name_first: bool = True


MATLAB = Encoding()
ENCODINGS = {
    "matlab": MATLAB,
    "integers in rows, all by reference": Encoding(
        number="i4",
        codes="u1",
        shape=lambda n: (1, n),
        single_by_reference=True,
        store="values/behind",
        fields=("width", "top", "left", "label", "height"),
        name_first=False,
    ),
    "strings and plain lists": Encoding(
        number="f4", codes="string", shape=lambda n: (n,), lists_by_reference=False, store="a"
    ),
}


def write_labels(path: Path, entries: list[Entry], encoding: Encoding = MATLAB) -> None:
    with h5py.File(path, "w") as file:
        store, names_of = file.create_group(encoding.store), count(7)

        def put(values: object, kind: object) -> h5py.Reference:
            return store.create_dataset(f"v{next(names_of)}", data=np.array(values, dtype=kind)).ref

        def put_name(name: str) -> h5py.Reference:
            if encoding.codes == "string":
                return put([name], h5py.string_dtype(length=20))
            return put(np.reshape([ord(letter) for letter in name], encoding.shape(len(name))), encoding.codes)

        def put_boxes(entry: Entry) -> h5py.Reference:
            group = store.create_group(f"b{next(names_of)}")
            left, top, width, height = np.reshape(entry.boxes, (-1, 4)).T
            columns = {"label": entry.labels, "left": left, "top": top, "width": width, "height": height}
            for field in encoding.fields:
                values = list(columns[field])
                behind = encoding.single_by_reference if len(values) == 1 else encoding.lists_by_reference
                kind: object = encoding.number
                if behind:
                    values, kind = [put([[value]], encoding.number) for value in values], h5py.ref_dtype
                group.create_dataset(field, data=np.array(values, dtype=kind).reshape(encoding.shape(len(values))))
            return group.ref

        columns = {"name": [put_name(entry.name) for entry in entries], "bbox": [put_boxes(entry) for entry in entries]}
        for field in ("name", "bbox") if encoding.name_first else ("bbox", "name"):
            data = np.array(columns[field], dtype=h5py.ref_dtype).reshape(encoding.shape(len(entries)))
            file.create_dataset(f"digitStruct/{field}", data=data)


def write_photograph(path: Path, size: tuple[int, int], boxes: list[tuple[float, float, float, float]]) -> None:
    """A dark photograph of (width, height) with a bright rectangle in each box."""
    photograph = Image.new("RGB", size, (20, 20, 20))
    for left, top, width, height in boxes:
        photograph.paste((230, 230, 230), (int(left), int(top), int(left + width), int(top + height)))
    photograph.save(path)


def write_folder(
    folder: Path, entries: list[Entry], encoding: Encoding = MATLAB, size: tuple[int, int] = (96, 40)
) -> Path:
    """A whole part: the photographs and their labels."""
    folder.mkdir(parents=True)
    for entry in entries:
        write_photograph(folder / entry.name, size, entry.boxes)
    write_labels(folder / "digitStruct.mat", entries, encoding)
    return folder


def sample_entries(number: int) -> list[Entry]:
    """Numbers of 1 to 5 digits in turn, at places that depend on their position."""
    entries = []
    for index in range(number):
        length = index % 5 + 1
        boxes = [(4.0 + 17 * digit, 6.0 + index % 3, 10.0, 20.0 + digit) for digit in range(length)]
        labels = [float((index + 3 * digit) % 10 + 1) for digit in range(length)]
        entries.append(Entry(f"{index + 1}.png", labels, boxes))
    return entries
