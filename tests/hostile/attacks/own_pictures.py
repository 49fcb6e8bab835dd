"""Attacks on who reads a user's own pictures: tables of labels, and records of runs on such pictures."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile.attacks.attack import Attack, content, huge
from hostile.attacks.pictures import zeros_png
from hostile.kinds import KINDS
from hostile.kinds.own_pictures import ROWS, good_runs, table


def rows(*more: tuple[str, ...]) -> Callable[[Path], None]:
    """The good table with more rows."""
    return content(lambda: table([*ROWS, *more]))


def bomb_beside(path: Path) -> None:
    (path.parent / "1.png").write_bytes(zeros_png())


def pipe_beside(path: Path) -> None:
    (path.parent / "1.png").unlink()
    os.mkfifo(path.parent / "1.png")


def changed_run(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        record = json.loads(good_runs()[0][0])
        change(record)
        path.write_text(json.dumps(record))

    return write


def attacks() -> Iterator[Attack]:
    labels = KINDS["table"]
    yield Attack("a table of 50 GB", labels, huge)
    yield Attack("a table with a line of 100 MB", labels, content(lambda: b"file,label\n1.png," + b"x" * 100_000_000))
    yield Attack("a table with a header of 100 MB", labels, content(lambda: b"file,label," + b"x" * 100_000_000))
    yield Attack(
        "a table of 10^7 rows",
        labels,
        content(lambda: b"file,label\n" + b"".join(b"%d,x\n" % number for number in range(10_000_000))),
    )
    yield Attack("a table of 10^7 empty lines", labels, content(lambda: b"file,label\n" + b"\n" * 10_000_000))
    yield Attack("a table of 10^7 columns", labels, content(lambda: b"file,label\n" + b"1.png,x" + b"," * 10_000_000))
    yield Attack("a table of 10^5 classes", labels, rows(*((f"{n}.jpg", f"class {n}") for n in range(100_000))))
    yield Attack("a table of NUL bytes", labels, content(lambda: b"file,label\n" + bytes(1_000_000)))
    yield Attack("a table that names NUL", labels, rows(("1\0.png", "robin", "")), must_refuse=False)
    for name in ("../secret.png", "x/../../secret.png", "/etc/hostname", "/dev/zero"):
        yield Attack(f"a table that names {name}", labels, rows((name, "robin", "")))
    yield Attack("a table that names a picture again", labels, rows(("1.png", "robin", "")))
    yield Attack("a table that names a picture another way", labels, rows(("./1.png", "wren", "")))
    yield Attack("a table that names its folder", labels, rows((".", "robin", "")), must_refuse=False)
    yield Attack("a table beside a picture of 13000x13000", labels, bomb_beside)
    yield Attack("a table beside a pipe", labels, pipe_beside, must_refuse=False)

    run = KINDS["own run"]
    yield Attack("own run of 50 GB", run, huge)
    for what, of_model in {
        "10^6 classes": {"class_names": [str(number) for number in range(1_000_000)]},
        "a name of 10 MB": {"class_names": ["x" * 10_000_000, "y"]},
        "the same class twice": {"class_names": ["x", "x"]},
        "names that are no texts": {"class_names": [["x"], {}]},
        "names in one text": {"class_names": "robin"},
        "another number of classes": {"class_names": ["a", "b", "c"]},
        "images of 10^9 pixels": {"height": 32_000, "width": 32_000},
        "images of no pixels": {"height": 0},
        "images of half pixels": {"width": 32.5},
        "7 channels": {"channels": 7},
        "windows that are a text": {"windows": "no"},
        "a seed of 10^400": {"split_seed": 10**400},
    }.items():
        yield Attack(f"own run of {what}", run, changed_run(lambda record, new=of_model: record["model"].update(new)))
    for what, of_data in {
        "pictures that are no digests": {"pictures": "!"},
        "pictures that are a number": {"pictures": 5},
        "a folder that is a list": {"folder": ["birds"]},
        "a folder elsewhere": {"folder": "/proc/self"},
        "a device for a folder": {"folder": "/dev/zero"},
        "a folder with NUL": {"folder": "a\0b"},
        "a source of its own": {"source": "x"},
        "a source that is a list": {"source": ["folder"]},
    }.items():
        yield Attack(
            f"own run of {what}",
            run,
            changed_run(lambda record, new=of_data: record["data"]["train"].update(new)),
            must_refuse=False,  # the model answers; of the pictures is told what is wrong
        )
