"""Arrays that take long to make, kept in the user's cache."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from dcnlib.utils.files import atomic_write, cache_folder, check_stored

Result = TypeVar("Result")
Arrays = Mapping[str, Any]  # of numpy arrays


def cached(name: str, *, read: Callable[[Arrays], Result], make: Callable[[], Arrays]) -> Result:
    """What `read` makes of the arrays in `NAME.npz` of the cache, or else of those that `make` returns, which are then
    kept there.

    `read` raises an exception for arrays that aren't the right ones: damaged or foreign ones are made anew.
    """
    folder = cache_folder()
    path = None if folder is None else folder / f"{name}.npz"
    if path is not None:
        # A damaged file makes numpy, zipfile and zlib raise a dozen kinds of exceptions, and none of them matters.
        with suppress(Exception), np.load(path, allow_pickle=False) as arrays:
            check_stored(arrays.zip)
            return read(arrays)
    made = make()
    result = read(made)
    if path is not None:
        with suppress(OSError):  # a read-only home only costs time
            atomic_write(path, lambda file: np.savez(file, **made))
    return result
