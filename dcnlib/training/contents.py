"""What a data set is and holds, as far as that can be told without reading all of it."""

import hashlib
import os
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

from dcnlib.training.loading import generator_of, order_of
from dcnlib.training.plain import plain_options
from dcnlib.utils.records import Record
from dcnlib.utils.weights import digest_of


def describe(data: Any) -> Record:
    """What a record says of a data set: its own description, of a part which part of what, else its name, its count,
    and its options, such as a transform. Paths are none: who moves the data has the same."""
    if hasattr(data, "describe"):
        return data.describe()
    if isinstance(data, DataLoader):
        order, generator = order_of(data), generator_of(data)
        told = {"batches": len(data), "sampler": type(order).__name__, **_options(order)}
        return {**describe(data.dataset), **told, **({"seed": generator.initial_seed()} if generator else {})}
    if isinstance(data, Subset):
        return {**describe(data.dataset), "part": len(data)}
    if isinstance(data, ConcatDataset):
        return {"name": "ConcatDataset", "count": len(data), "parts": [describe(part) for part in data.datasets]}
    return {"name": type(data).__name__, "count": len(data), **_options(data)}


def digest(data: Any) -> str | None:
    """SHA-256 of what a data set holds, where it is at hand: in our own sets, tensors, lists of pairs and parts of
    them. Of another set, it is that of its labels and of the tensors and arrays that it keeps, not of files that it
    reads; None if there is nothing to be had."""
    if isinstance(data, DataLoader):
        order = order_of(data)
        return _digest(digest(data.dataset), *(map(np.asarray, order) if isinstance(order, list) else _arrays(order)))
    if isinstance(data, Subset):
        return _digest(digest(data.dataset), np.asarray(data.indices))
    if isinstance(data, ConcatDataset):
        return _digest(*map(digest, data.datasets))
    if isinstance(data, TensorDataset):
        return _digest(*data.tensors)
    if isinstance(data, list | tuple):
        return _digest(*(part for item in data for part in (item if isinstance(item, list | tuple) else [item])))
    if isinstance(contents := getattr(data, "contents", None), tuple):
        return _digest(*contents)
    held = _arrays(data)
    return _digest(*held) if held else None


# What is told otherwise (lists of items, files and labels, in the digest; a loader's batch size, in the settings), and
# what torchvision's sets tell twice.
BESIDE = (
    *("tensors", "indices", "targets", "labels", "samples", "imgs", "classes", "class_to_idx", "batch_size"),
    *("transforms", "extensions", "loader", "data_source"),
)
MOST_TEXT = 2000  # letters


def _options(owner: Any) -> Record:
    """The options of a data set or a sampler, but for those that are nothing, paths, and what would fill a record."""
    options = plain_options(owner, without=BESIDE)
    unfit = {
        key for key, told in options.items() if told == "None" or os.sep in str(told) or len(str(told)) > MOST_TEXT
    }
    return {key: told for key, told in options.items() if key not in unfit}


def _arrays(owner: Any) -> list[Any]:
    """The tensors, arrays and lists of numbers that an object keeps, and their names."""
    held: list[Any] = []
    for name, value in sorted(vars(owner).items()) if hasattr(owner, "__dict__") else []:
        if isinstance(value, list) and value and all(isinstance(item, int | float | np.number) for item in value):
            value = np.asarray(value)
        if isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype != object):
            held += [name, value]
    return held


def _digest(*parts: Any) -> str | None:
    """SHA-256 of tensors, arrays, numbers and texts; None if there is anything else among them."""
    whole = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            whole.update(digest_of({"": part}).encode())
        elif isinstance(part, np.ndarray) and part.dtype != object:
            whole.update(f"{part.dtype} {part.shape};".encode())
            whole.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        elif part is None or isinstance(part, int | float | str | np.number):
            whole.update(f"{part};".encode())
        else:
            return None
    return whole.hexdigest()
