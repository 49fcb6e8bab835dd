"""Arrays that take long to make, kept in the user's cache."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dcnlib.utils.files import atomic_write, cache_folder, check_stored

Result = TypeVar("Result")
Arrays = Mapping[str, Any]  # of numpy arrays


def cached(
    name: str, *, read: Callable[[Arrays], Result], make: Callable[[], Arrays], most_bytes: int | None = None
) -> Result:
    """What `read` makes of the arrays in `NAME.npz` of the cache, or else of those that `make` returns, which are then
    kept there.

    `read` raises an exception for arrays that aren't the right ones: damaged or foreign ones are made anew.
    most_bytes: that the folder of NAME may take, as FOLDER in FOLDER/KEY; beyond that the files go that were read
    longest ago. By default none goes.
    """
    folder = cache_folder()
    path = None if folder is None else folder / f"{name}.npz"
    if path is not None:
        # A damaged file makes numpy, zipfile and zlib raise a dozen kinds of exceptions, and none of them matters.
        with suppress(Exception), np.load(path, allow_pickle=False) as arrays:
            check_stored(arrays.zip)
            result = read(arrays)
            with suppress(OSError):  # it may be another user's
                path.touch()
            return result
    made = make()
    result = read(made)
    if path is not None:
        with suppress(OSError):  # a read-only home only costs time
            atomic_write(path, lambda file: np.savez(file, **made))
            if most_bytes is not None:
                _make_room(path, most_bytes)
    return result


def _make_room(newest: Path, most_bytes: int) -> None:
    """Delete the files beside the newest that were read longest ago, until all take no more than so many bytes."""
    files = {path: path.stat() for path in newest.parent.glob("*.npz") if path != newest}
    taken = newest.stat().st_size + sum(file.st_size for file in files.values())
    for path, file in sorted(files.items(), key=lambda item: item[1].st_mtime):
        if taken <= most_bytes:
            return
        path.unlink()
        taken -= file.st_size
