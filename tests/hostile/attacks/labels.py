"""Attacks on who reads the labels of house numbers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
from hostile.attacks.attack import Attack, deflated
from hostile.attacks.pictures import zeros_png
from hostile.kinds import KINDS
from PIL import Image
from svhn_files import sample_entries, write_labels


def labels(change: Callable[[h5py.File, Path], None]) -> Callable[[Path], None]:
    """A file of six good entries that is then changed."""

    def write(path: Path) -> None:
        write_labels(path, sample_entries(6))
        with h5py.File(path, "r+") as file:
            change(file, path.parent)

    return write


def millions(file: h5py.File, folder: Path) -> None:
    for field in ("name", "bbox"):
        del file[f"digitStruct/{field}"]
        file.create_dataset(
            f"digitStruct/{field}", (10_000_000, 1), h5py.ref_dtype, compression="gzip", chunks=(100_000, 1)
        )


def millions_of_nothing(file: h5py.File, folder: Path) -> None:
    for field in ("name", "bbox"):
        del file[f"digitStruct/{field}"]
        file.create_dataset(f"digitStruct/{field}", (10_000_000, 1), h5py.ref_dtype)


def _elsewhere(folder: Path) -> Path:
    """Another file of labels, beside the folder."""
    write_labels(other := folder.parent / "other.mat", sample_entries(6))
    return other


def external_link(file: h5py.File, folder: Path) -> None:
    del file["digitStruct"]
    file["digitStruct"] = h5py.ExternalLink(str(_elsewhere(folder)), "/digitStruct")


def external_field(file: h5py.File, folder: Path) -> None:
    other = _elsewhere(folder)
    for place in file["#refs#"].values():
        if isinstance(place, h5py.Group):
            del place["label"]
            place["label"] = h5py.ExternalLink(str(other), "/#refs#/v1")


def endless_link(file: h5py.File, folder: Path) -> None:
    del file["digitStruct"]
    file["digitStruct"] = h5py.SoftLink("/again")
    file["again"] = h5py.SoftLink("/digitStruct")


def foreign_bytes(file: h5py.File, folder: Path) -> None:
    """The names of photographs come from a file that isn't the sender's."""
    secret = folder.parent / "secret"
    secret.write_bytes(b"1.png" * 10)
    name = file.create_dataset("stolen", (5,), "u1", external=[(str(secret), 0, 5)])
    data = file["digitStruct/name"]
    data[...] = np.array([[name.ref]] * len(data), dtype=h5py.ref_dtype)


def foreign_virtual(file: h5py.File, folder: Path) -> None:
    other = folder.parent / "secret.h5"
    with h5py.File(other, "w") as secret:
        secret["codes"] = np.frombuffer(b"1.png", np.uint8)
    layout = h5py.VirtualLayout((5,), "u1")
    layout[:] = h5py.VirtualSource(str(other), "codes", (5,))
    name = file.create_virtual_dataset("stolen", layout)
    data = file["digitStruct/name"]
    data[...] = np.array([[name.ref]] * len(data), dtype=h5py.ref_dtype)


def wide_list(file: h5py.File, folder: Path) -> None:
    """A list of 2^64 numbers, whose count is 0 in 64 bits."""
    wide = file.create_dataset("wide", (2**32, 2**32), "f8", chunks=(1, 1024))
    data = file["digitStruct/name"]
    data[...] = np.array([[wide.ref]] * len(data), dtype=h5py.ref_dtype)


def big_elements(file: h5py.File, folder: Path) -> None:
    """A list of a thousand, each of whose elements has a megabyte."""
    wide = file.create_dataset("wide", (1000,), np.dtype(("V", 2_000_000)), chunks=(1,))
    data = file["digitStruct/name"]
    data[...] = np.array([[wide.ref]] * len(data), dtype=h5py.ref_dtype)


def squeezed_list(file: h5py.File, folder: Path) -> None:
    """Ten numbers in a chunk of 1.6 GB, which has to be unpacked for any of them."""
    wide = file.create_dataset(
        "wide", (10,), "f8", maxshape=(None,), chunks=(200_000_000,), compression="gzip", compression_opts=1
    )
    wide.id.write_direct_chunk((0,), b"\x78\x01" + deflated(1_600_000_000))
    data = file["digitStruct/name"]
    data[...] = np.array([[wide.ref]] * len(data), dtype=h5py.ref_dtype)


def climbing_names(file: h5py.File, folder: Path) -> None:
    Image.new("L", (96, 40)).save(folder.parent / "secret.png")
    codes = file.create_dataset("climbing", data=np.frombuffer(b"../secret.png", np.uint8))
    data = file["digitStruct/name"]
    data[...] = np.array([[codes.ref]] * len(data), dtype=h5py.ref_dtype)


LABEL_ATTACKS: dict[str, Callable[[h5py.File, Path], None]] = {
    "10^7 references in 22 kB": millions_of_nothing,
    "10^7 packed references": millions,
    "labels behind an external link": external_link,
    "fields behind external links": external_field,
    "a link that leads to itself": endless_link,
    "names from another file's bytes": foreign_bytes,
    "names from another file's data set": foreign_virtual,
    "a list of 2^64": wide_list,
    "a list of 2 GB": big_elements,
    "ten numbers in a chunk of 1.6 GB": squeezed_list,
    "names that climb out": climbing_names,
}


def photograph_bomb(path: Path) -> None:
    for photograph in path.parent.glob("*.png"):
        photograph.write_bytes(zeros_png())


def long_names(path: Path) -> None:
    """Names of any length, of which one claims 1.5 GB."""
    where = []

    def change(file: h5py.File, folder: Path) -> None:
        name = file.create_dataset("long", data=["1.png"], dtype=h5py.string_dtype())
        data = file["digitStruct/name"]
        data[...] = np.array([[name.ref]] * len(data), dtype=h5py.ref_dtype)
        file.flush()
        where.append(name.id.get_offset())

    labels(change)(path)
    with path.open("r+b") as file:
        file.seek(where[0])
        file.write((1_500_000_000).to_bytes(4, "little"))


def attacks() -> Iterator[Attack]:
    kind = KINDS["mat"]
    for name, change in LABEL_ATTACKS.items():
        yield Attack(name, kind, labels(change))
    yield Attack("names of 1.5 GB", kind, long_names)
    yield Attack("photographs of 13000x13000", kind, photograph_bomb)
