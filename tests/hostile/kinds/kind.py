"""What a kind of file is: good ones, what reads them, and the errors that may end that."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import platformdirs
from hostile import mutations
from hostile.mutations import Mutation

DOCUMENTED = (ValueError, TypeError, OSError)  # FileNotFoundError is one of the last


@dataclass(frozen=True)
class Kind:
    """A kind of file. `whole`: of damaged bytes comes the very same as of the good ones, or an error."""

    name: str
    file: str  # its path in a case's folder
    make: Callable[[], list[bytes]]
    read: Callable[[Path], object]
    structured: tuple[Mutation, ...] = ()
    whole: bool = False
    beside: Callable[[Path], object] | None = None  # makes what else there must be in the folder
    also: tuple[type[Exception], ...] = ()  # other documented errors, which needn't name the file
    names_file: bool = True

    @cached_property
    def contents(self) -> list[bytes]:
        return self.make()

    def place(self, folder: Path, content: bytes) -> Path:
        """A new folder with the file in it, which is also the cache's place and the working folder."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        _cache_in(folder)
        os.chdir(folder)
        if self.beside is not None:
            self.beside(folder)
        path.write_bytes(content)
        return path

    def mutated(self, seed: int) -> tuple[bytes, object]:
        """A case's bytes, and what reading them gives unless it ends in an error, where that is known (else None)."""
        random = Random(f"{self.name} {seed}")
        number = random.randrange(len(self.contents))
        content = self.contents[number]
        if self.structured and random.random() < 0.6:
            return random.choice(self.structured)(random, content), None
        changed = mutations.any_bytes(random, content)
        return changed, RESULTS.get((self.name, number))

    def read_good(self, folder: Path) -> None:
        """Read each good file, if that hasn't been done, in a folder that stays, and keep what has to come of it."""
        if (self.name, 0) in RESULTS:
            return
        _cache_in(folder)  # to make some of the files is to read others
        for number, content in enumerate(self.contents):
            result = self.read(self.place(folder / f"{self.name} {number}", content))
            RESULTS[self.name, number] = result if self.whole else None


def _cache_in(folder: Path) -> None:
    platformdirs.user_cache_dir = lambda *_: str(folder / "cache")


RESULTS: dict[tuple[str, int], object] = {}  # of good files, by kind and number


def digest(*arrays: Any) -> str:
    """What an array holds, in short."""
    content = hashlib.sha256()
    for array in map(np.asarray, arrays):
        content.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return content.hexdigest()[:16]
