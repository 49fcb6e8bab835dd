"""Which experiment a run is: everything that its result depends on, told in plain text, and what differs in another."""

import functools
import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.modules import frozen_parts
from dcnlib.utils.records import Record
from dcnlib.utils.weights import digest_of, weights_of

# What an identity says beyond what every record says; records of earlier versions lack it.
NEWER = ("architecture", "frozen", "digests")
# What doesn't change a result, or came later.
BESIDE = {("settings", "workers"), ("data", "test")}


def identify(
    name: str, description: Record | None, model: nn.Module, train: Any, validation: Any, settings: TrainingSettings
) -> Record:
    """All that decides a run's result: name, model, settings and data as its record tells them, the architecture layer
    by layer, which parts stay in eval mode, and digests of the initial weights and of the data.

    Raises TypeError if the descriptions of model and data aren't what JSON can hold, which a record is written in.
    """
    frozen = frozen_parts(model)
    identity: Record = {
        "name": name,
        "model": description or {"class": type(model).__name__},
        "settings": asdict(settings),
        "data": {"train": describe(train), "validation": describe(validation)},
        "architecture": dict(_layers(model)),
        "frozen": [part for part, module in model.named_modules() if module in frozen],
        "digests": {
            "initial_weights": digest_of(weights_of(model)),
            "train": digest(train),
            "validation": digest(validation),
        },
    }
    try:
        return json.loads(json.dumps(identity, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"the record can't hold the description of model or data, as JSON: {error}") from error


def differences(old: Record, new: Record) -> list[str]:
    """What differs in another run's identity or record, each as `path: old -> new`.

    What an earlier version didn't tell is no difference, and neither is what doesn't change a result, such as how many
    workers make the batches.
    """
    told = [part for part in new if part in old or part not in NEWER]
    return list(_differences({part: old.get(part) for part in told}, {part: new[part] for part in told}))


def check_same(folder: Path, old: Record, new: Record, later: Collection[str]) -> None:
    """Raise ValueError, saying what differs, if a folder holds the run of another experiment.

    `later` are digests of weights that this run had since it began. A model that has them comes out of the run and may
    go on with it.
    """
    if new["digests"]["initial_weights"] in later:
        own = {part: old[part] for part in ("frozen",) if part in old}
        begun = (old.get("digests") or new["digests"])["initial_weights"]
        new = new | own | {"digests": new["digests"] | {"initial_weights": begun}}
    if differing := differences(old, new):
        told = "; ".join(differing[:6]) + (f"; and {len(differing) - 6} more" if len(differing) > 6 else "")
        raise ValueError(f"{folder} holds another run: choose another folder, or delete it. It differs in {told}")


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old | new:
            if (path, key) not in BESIDE:
                yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield f"{path}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


# The architecture


def _layers(model: nn.Module) -> Iterator[tuple[str, str | Record]]:
    """Each part of a model by name: its type, parameters and buffers, and the options that it has."""
    for name, part in model.named_modules():
        tensors = [
            f"{key} {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            + (" frozen" if isinstance(tensor, nn.Parameter) and not tensor.requires_grad else "")
            for key, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        ]
        layer, options = "; ".join([f"{type(part).__name__}({part.extra_repr()})", *tensors]), _options(part)
        yield name or "model", {"layer": layer, **options} if options else layer


def _options(part: nn.Module) -> Record:
    """The attributes that say what a part does. Those of torch's own layers stand in what they say of themselves."""
    if type(part).__module__.startswith("torch.nn"):
        return {}
    younger = getattr(type(part), "YOUNGER", {})
    return {
        key: value if isinstance(value, bool | int | str) else text
        for key, value in vars(part).items()
        if (key, value) not in younger.items()
        # A method that was put in another one's place is no option.
        if not key.startswith("_") and key != "training" and not callable(getattr(type(part), key, None))
        if (text := _plain(value)) is not None
    }


def _plain(value: Any) -> str | None:
    """A value as text that is the same in another process, or None if it has none."""
    if value is None or isinstance(value, bool | int | float | str | np.number | torch.dtype | torch.Size):
        return repr(value)
    if isinstance(value, Enum):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        fields = {key: _plain(item) for key, item in vars(value).items()}
        return f"{type(value).__name__}({', '.join(f'{key}={text}' for key, text in fields.items() if text)})"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_plain(item) or '?' for item in value)}]"
    if isinstance(value, functools.partial):
        return f"{_plain(value.func)}{_plain(value.args)}{_plain(value.keywords)}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_plain(item)}' for key, item in value.items())}}}"
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    return None


# The data


def describe(data: Any) -> Record:
    """What a record says of a data set: its own description, of a part which part of what, else its name and count."""
    if hasattr(data, "describe"):
        return data.describe()
    if isinstance(data, DataLoader):
        return {**describe(data.dataset), "batches": len(data), "sampler": type(data.sampler).__name__}
    if isinstance(data, Subset):
        return {**describe(data.dataset), "part": len(data)}
    return {"name": type(data).__name__, "count": len(data)}


def digest(data: Any) -> str | None:
    """SHA-256 of what a data set holds, where it is at hand: in our own sets, tensors, lists of pairs and parts of
    them. Of a set that reads files, as torchvision's do, it is that of the labels, if it lists them; else None."""
    if isinstance(data, DataLoader):
        return digest(data.dataset)
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
    labels = getattr(data, "targets", getattr(data, "labels", None))
    return _digest(np.asarray(labels) if isinstance(labels, list) else labels) if labels is not None else None


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
