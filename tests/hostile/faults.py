"""Readers with a fault each, to see that the harness sees it."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
from hostile.kinds.kind import Kind


def spin(path: Path) -> NoReturn:
    while True:
        pass


def outside(path: Path) -> None:
    folder = path.parents[2] / f"hostile-{os.getpid()}"
    folder.mkdir()
    folder.rmdir()


def fail(error: Exception) -> NoReturn:
    raise error


READERS: dict[str, Callable[[Path], object]] = {
    "crash": lambda path: os.abort(),
    "spin": spin,
    "memory": lambda path: np.ones(1_100_000_000, np.uint8).nbytes,
    "program": lambda path: subprocess.run([sys.executable, "--version"]).returncode,
    "outside": outside,
    "unpickle": lambda path: pickle.loads(pickle.dumps(Path("x"))),
    "error": lambda path: fail(KeyError(path.name)),
    "no name": lambda path: fail(ValueError("it is wrong")),
}


def unless_good(read: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: None if path.parents[1].name == "good" else read(path)


FAULTS = {name: Kind(name, "file", lambda: [b"good"], unless_good(read)) for name, read in READERS.items()}
