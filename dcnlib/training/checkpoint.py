"""Checkpoints of training: written atomically, and read without executing anything from the file."""

import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from dcnlib.utils.files import atomic_write
from dcnlib.utils.records import Record


@dataclass
class Progress:
    """Everything a resumed run needs beside the model's, the optimizer's and the schedule's state."""

    epoch: int = 0
    step: int = 0  # within the epoch
    seconds: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)  # of this epoch's loss parts, float64
    curves: dict[str, list[float]] = field(default_factory=dict)
    best: Record = field(default_factory=dict)  # epoch and validation figures of the best weights


def save_checkpoint(
    path: Path,
    identity: Record,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    state: Progress,
    best_weights: dict[str, Tensor],
) -> None:
    content = {
        "identity": identity,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "progress": asdict(state),
        "best_weights": best_weights,
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps_rng": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }
    atomic_write(path, lambda file: torch.save(content, file))


def resume(
    path: Path,
    identity: Record,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    state: Progress,
) -> dict[str, Tensor]:
    """Load a checkpoint into everything given, and return the best weights so far."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{path} is not a whole checkpoint of this library; delete it to start anew: {error}"
        ) from error
    if content["identity"] != identity:
        differing = [part for part in identity if content["identity"].get(part) != identity[part]]
        raise ValueError(
            f"{path.parent} holds a run that differs in {', '.join(differing)}: choose another folder, or delete it; "
            f"it has {[content['identity'].get(part) for part in differing]}"
        )
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    schedule.load_state_dict(content["schedule"])
    for key, value in content["progress"].items():
        setattr(state, key, value)
    torch.set_rng_state(content["torch_rng"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(content["cuda_rng"])
    if torch.backends.mps.is_available() and content["mps_rng"] is not None:  # the run may have begun elsewhere
        torch.mps.set_rng_state(content["mps_rng"])
    return content["best_weights"]
