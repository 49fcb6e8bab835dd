"""Which experiment a run is: everything that its result depends on, told in plain text, and what differs in another."""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from dcnlib.training.contents import describe, digest
from dcnlib.training.plain import plain_options
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.modules import frozen_parts, uncompiled
from dcnlib.utils.records import Record
from dcnlib.utils.weights import digest_of, plain_name, weights_of

# What an identity says beyond what every record says; records of earlier versions lack it.
NEWER = ("architecture", "frozen", "digests")
# What doesn't change a result, such as where pictures lie, or came later.
BESIDE = {
    *(("settings", "workers"), ("data", "test"), ("data.train", "folder"), ("data.validation", "folder")),
    *(("data.train", "skipped"), ("data.validation", "skipped")),  # what is no picture teaches nothing
}
# Settings that came later, with what runs had before.
LATER = {("settings", "deterministic"): False}


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
        "frozen": [plain_name(part) for part, module in _parts(model) if module in frozen],
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
        begun = {**new["digests"], **old.get("digests", {})}["initial_weights"]
        new = new | own | {"digests": new["digests"] | {"initial_weights": begun}}
    if differing := differences(old, new):
        told = "; ".join(differing[:6]) + (f"; and {len(differing) - 6} more" if len(differing) > 6 else "")
        raise ValueError(f"{folder} holds another run: choose another folder, or delete it. It differs in {told}")


def check_alike(identities: list[Record]) -> None:
    """Raise ValueError, in all processes, if one of them was given another experiment than the first."""
    for rank, other in enumerate(identities):
        if differing := differences(identities[0], other):
            raise ValueError(
                f"process {rank} trains something else than process 0: {'; '.join(differing[:6])}. Seed torch before "
                "the model is made, and give all processes the same"
            )


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old | new:
            if (path, key) not in BESIDE:
                before = old.get(key, LATER.get((path, key)))
                yield from _differences(before, new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield f"{path}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _layers(model: nn.Module) -> Iterator[tuple[str, str | Record]]:
    """Each part of a model by name: its type, parameters and buffers, and the options that it has."""
    for name, part in _parts(model):
        tensors = [
            f"{key} {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            + (" frozen" if isinstance(tensor, nn.Parameter) and not tensor.requires_grad else "")
            for key, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        ]
        layer, options = "; ".join([f"{type(part).__name__}({part.extra_repr()})", *tensors]), _options(part)
        yield plain_name(name) or "model", {"layer": layer, **options} if options else layer


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts of a model and their names, without what torch.compile wraps around some of them."""
    return ((name, part) for name, part in model.named_modules() if uncompiled(part) is part)


def _options(part: nn.Module) -> Record:
    """The attributes that say what a part does. Those of torch's own layers stand in what they say of themselves."""
    if type(part).__module__.startswith("torch.nn"):
        return {}
    younger = getattr(type(part), "YOUNGER", {})
    as_before = {key for key, value in younger.items() if vars(part).get(key) == value}
    return plain_options(part, without={"training", *as_before})
