"""Checkpoints of training: written atomically, read without executing anything from the file, and all or nothing."""

import io
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dcnlib.training.identity import check_same
from dcnlib.training.means import as_weights
from dcnlib.utils.files import atomic_write, check_size, check_stored
from dcnlib.utils.records import Record
from dcnlib.utils.weights import check_fit, digest_of, put_weights, size_of, weights_of

# A checkpoint holds the weights, the best, their means, and twice as much for AdamW; and what there is beside them.
_COPIES, _BESIDE = 10, 100_000_000


@dataclass
class Progress:
    """Everything a resumed run needs beside the model's, the optimizer's and the schedule's state."""

    epoch: int = 0
    step: int = 0  # within the epoch
    seconds: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)  # of this epoch's loss parts, float64 where there is one
    curves: dict[str, list[float]] = field(default_factory=dict)
    best: Record = field(default_factory=dict)  # epoch and validation figures of the best weights
    epoch_rng: Tensor | None = None  # at the epoch's beginning, of the generator that a DataLoader shuffles by
    resumed: list[Record] = field(default_factory=list)  # where a resumption changed the versions or the machine

    def add(self, parts: dict[str, Tensor]) -> None:
        """Add a step's loss parts to the epoch's sums, on the device that they are on, which nobody waits for."""
        for part, value in parts.items():
            value = value.detach().to(torch.float32 if value.device.type == "mps" else torch.float64)
            self.sums[part] = self.sums[part].to(value) + value if part in self.sums else value


@dataclass
class Training:
    """All that changes while a model is trained."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    best_weights: dict[str, Tensor]
    means: dict[str, Tensor] = field(default_factory=dict)  # of the weights; none unless the settings ask for them
    progress: Progress = field(default_factory=Progress)


def save_checkpoint(path: Path, identity: Record, here: Record, training: Training) -> None:
    """Write all of a training, and where it runs: versions and machine. Raises OSError if there is no place."""
    progress = asdict(training.progress)
    content = {
        "identity": identity,
        "environment": {part: here[part] for part in ("versions", "machine")},
        "model": weights_of(training.model),
        "optimizer": training.optimizer.state_dict(),
        "schedule": training.schedule.state_dict(),
        "progress": progress | {"sums": {part: value.cpu() for part, value in progress["sums"].items()}},
        "best_weights": training.best_weights,
        "means": {name: mean.cpu() for name, mean in training.means.items()},
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps_rng": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }
    whole = io.BytesIO()  # torch hides from its caller why a file couldn't be written
    torch.save(content, whole)
    atomic_write(path, lambda file: file.write(whole.getbuffer()))


def read_checkpoint(path: Path, model: nn.Module) -> dict[str, Any]:
    """The content of a checkpoint, each of its parts held to its checksum. Raises ValueError for a damaged one, and for
    one that is far too large for the model's."""
    try:
        check_size("it", path.stat().st_size, _COPIES * size_of(model) + _BESIDE)
        with zipfile.ZipFile(path) as parts:
            check_stored(parts)
            if damaged := parts.testzip():
                raise ValueError(f"the checksum of {damaged} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    except Exception as error:  # a damaged file makes the readers raise whatever they like
        raise ValueError(
            f"{path} is not a whole checkpoint of this library; delete it to start anew: {error}"
        ) from error
    return content


def resume(path: Path, content: dict[str, Any], identity: Record, here: Record, training: Training) -> None:
    """Load what `read_checkpoint` gave into a training.

    Raises ValueError, and leaves the model as it was, if it is damaged or is that of another experiment.
    """
    try:
        later = {digest_of(content["model"]), digest_of(content["best_weights"])}
        check_same(path.parent, content["identity"], identity, later)
        check_fit(content["model"], training.model, str(path))
        check_fit(content["best_weights"], training.model, str(path))
        if training.means:
            check_fit(as_weights(content["means"], training.model), training.model, str(path))
        training.optimizer.load_state_dict(content["optimizer"])
        _check_moments(training.optimizer, path)
        training.schedule.load_state_dict(content["schedule"])
        training.progress = Progress(**content["progress"])
        training.best_weights = content["best_weights"]
        # Earlier versions kept means of half precision's weights in half precision.
        training.means = {name: content["means"][name].to(mean) for name, mean in training.means.items()}
        torch.set_rng_state(content["torch_rng"])
        if torch.cuda.is_available() and len(content["cuda_rng"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(content["cuda_rng"])
        if torch.backends.mps.is_available() and content["mps_rng"] is not None:  # the run may have begun elsewhere
            torch.mps.set_rng_state(content["mps_rng"])
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise ValueError(f"{path} is not a checkpoint of this library; delete it to start anew: {error!r}") from error
    put_weights(content["model"], training.model, str(path))
    state = training.progress
    if changed := _changes(content.get("environment", {}), here):
        state.resumed.append({"epoch": state.epoch + 1, "step": state.step, "changed": changed})


def _check_moments(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Raise ValueError unless what an optimizer remembers of each parameter has its shape and is finite."""
    for parameter, moments in optimizer.state.items():
        for value in moments.values():
            if isinstance(value, Tensor) and not (value.shape in (parameter.shape, ()) and value.isfinite().all()):
                raise ValueError(f"{path} holds another model's optimizer, or one whose state isn't finite")


def _changes(before: Record, here: Record) -> Record:
    """What is otherwise than before: {"machine.threads": [2, 1]}. Older checkpoints are of one process."""
    machine = {"processes": 1, **before.get("machine", {})}
    return {
        f"{part}.{key}": [old, here[part].get(key)]
        for part, values in {**before, "machine": machine}.items()
        for key, old in values.items()
        if here[part].get(key) != old
    }
